"""The audit's graphs: cases.py has how one is written down, and each family of graphs has a file."""
