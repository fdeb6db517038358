"""Every parser of a file from outside: the trust boundary. Nothing is unpickled, imported or run.

A file that cannot be used ends as one `InputError`, which names it. No memory is asked for that is not free, or that is
out of proportion to the file.
"""
