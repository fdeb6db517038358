"""Files that the user named."""

import os
import stat

from bn_graph.config import InputError


def open_file(path):
    """The file `path`, opened to read its bytes. Raises `InputError`."""
    try:
        kind = os.stat(path).st_mode
        # To open a pipe would wait for whoever writes into it, and a device may have no end.
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise InputError(f"{path}: expected a file, found a pipe or a device")
        return open(path, "rb")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:  # a zero byte
        raise InputError(f"{path}: no file can have this name") from None


def check_utf8(path):
    """Raises `InputError` where the name of `path` is not UTF-8: TensorFlow writes to no other."""
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: cannot be written: TensorFlow takes only names in UTF-8") from None
