"""Recorders of what old TensorFlow releases did. They run under Python 2.7."""
