"""What the documentation says of speed, measured again: `python scripts/benchmark`."""
