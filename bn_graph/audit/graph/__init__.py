"""A TensorFlow graph as plain lists, with functions inlined and the conditions under which each op runs."""
