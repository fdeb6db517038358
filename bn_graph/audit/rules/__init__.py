"""One file a rule, and the list of them."""
