"""Files that the user named."""

import glob
import os
import stat
import tempfile
from pathlib import Path

from bn_graph.errors import InputError


def check_exists(path, suffixes=("",), what="No such file or directory"):
    """Raises `InputError`, "`path`: `what`", where no file has this name and one of `suffixes`.

    For commands, which can so refuse a path before they import TensorFlow. Whoever reads the file looks closer.
    """
    if not any(_may_exist(f"{path}{suffix}") for suffix in suffixes):
        raise InputError(f"{path}: {what}")


def check_checkpoint_exists(path):
    """Raises `InputError` where there is no checkpoint `path`, in whatever way it is named."""
    if not glob.glob(str(path)):  # V1 files in parts are named by a pattern
        check_exists(path, ("", ".index"), "not a checkpoint that can be read (No such file or directory)")


def _may_exist(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):  # something else is wrong with it
        return True
    return True


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


def write_whole(path, content):
    """Writes the bytes `content` to the file `path`, replacing it, whole or not at all. Raises OSError, which names it.

    Where `path` is a link, what it leads to is written, as everywhere.
    """
    place = Path(os.path.realpath(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".bn_graph.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:  # a full disk names no file, and the others the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from None


def sync(path):
    """Returns when the file or folder `path` is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask():
    umask = os.umask(0)  # there is no way to ask without setting it
    os.umask(umask)
    return umask
