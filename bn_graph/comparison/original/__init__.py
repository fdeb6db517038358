"""The original's own text, run today in a process of its own, and what it did beside the port and the recordings."""
