"""The port beside the original of 2016: what is the same, measured live."""
