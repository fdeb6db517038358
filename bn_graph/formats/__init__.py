"""Every parser of a file from outside: the trust boundary. Nothing is unpickled, imported or run."""
