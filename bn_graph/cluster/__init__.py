"""The tutorial on several machines: TensorFlow's distributed runtime of 2016, on today's TensorFlow."""
