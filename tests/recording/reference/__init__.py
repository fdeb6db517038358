"""What the tutorial did on the software of 2016: tutorial.py is the program, and the others record one thing each."""
