"""Other loops over the same training step, faster than the tutorial's own."""
