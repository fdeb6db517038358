"""The tests, and what makes their recordings: see README.md. (It is imported under Python 2.7, too.)"""
