"""What is a batch norm: finds the layers of a graph by what they compute."""
