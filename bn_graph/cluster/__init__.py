"""The tutorial on TensorFlow's distributed runtime of 2016."""
