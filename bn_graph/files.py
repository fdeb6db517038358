"""Files that the user named."""

import contextlib
import fcntl
import glob
import os
import shutil
import stat
import tempfile
from pathlib import Path

from bn_graph.errors import InputError

_TEMPORARY = ".bn_graph.temporary."  # the prefix of folders in which something is written until it is whole


def check_exists(path, suffixes=("",), what="No such file or directory"):
    """Raises `InputError`, "`path`: `what`", where no file has this name and one of `suffixes`.

    For commands, which can so refuse a path before they import TensorFlow. Whoever reads the file looks closer.
    """
    if not any(may_exist(f"{path}{suffix}") for suffix in suffixes):
        raise InputError(f"{path}: {what}")


def check_checkpoint_exists(path):
    """Raises `InputError` where there is no checkpoint `path`, in whatever way it is named."""
    if not glob.glob(str(path)):  # V1 files in parts are named by a pattern
        check_exists(path, ("", ".index"), "not a checkpoint that can be read (No such file or directory)")


def may_exist(path) -> bool:
    """Whether there is a file or folder `path`, or something else is wrong with it than that there is none."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
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


def read_whole(path, largest: int) -> bytes:
    """The bytes of the file `path`. Raises `InputError`, also where it has more than `largest` of them."""
    with open_file(path) as file:
        try:
            content = file.read(largest + 1)  # a sparse file may claim terabytes
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        if len(content) > largest:
            size = os.fstat(file.fileno()).st_size
            raise InputError(f"{path}: expected at most {largest} bytes, found {size}")
    return content


def write_whole(path, content: bytes) -> None:
    """Writes the file `path`, replacing it, whole or not at all. When it returns, the bytes are on the disk.

    Where `path` is a link, what it leads to is written, as everywhere. A file that is replaced keeps its mode.

    Raises OSError, which names `path`.
    """
    place = Path(os.path.realpath(path))
    try:
        mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666 & ~_umask()
        with temporary_beside(place) as folder:
            file = folder / "file"
            file.write_bytes(content)
            file.chmod(mode)
            sync(file)
            file.replace(place)
            sync(place.parent)
    except OSError as error:  # a full disk names no file, and the others the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def temporary_beside(place: Path):
    """A new folder beside the file or folder `place`, to write in and then to rename from. In the end it is removed.

    Those that a killed process has left are removed, too. Raises OSError.
    """
    for left in place.parent.glob(f"{_TEMPORARY}*"):
        _remove_if_left(left)
    folder, handle = _locked_folder(place.parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _locked_folder(place):
    """A new temporary folder in `place`, and a handle of it whose lock the kernel takes from whoever is gone."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=place, prefix=_TEMPORARY))
        handle = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a filesystem without locks, where nobody else gets one either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists():
            return folder, handle
        os.close(handle)  # somebody has taken it for one that was left, before it was locked


def _remove_if_left(folder):
    """Removes a temporary folder whose process is gone."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # no folder, and so not ours
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)  # which does nothing to a link
    except OSError:  # somebody is writing in it
        pass
    finally:
        os.close(handle)


def make_folder(path) -> None:
    """Makes the folder `path` and those above it, where they are not there. They are on the disk. Raises OSError."""
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path) -> None:
    """Returns when the file or folder `path` is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder) -> None:
    """Returns when all files and folders in `folder`, and it itself, are on the disk. Raises OSError."""
    for path in (*Path(folder).rglob("*"), folder):
        sync(path)


def _umask():
    umask = os.umask(0)  # there is no way to ask without setting it
    os.umask(umask)
    return umask
