"""How much memory this process can still have: the smallest of what the machine, a container and limits leave."""

import contextlib
import sys
from pathlib import Path

import psutil

from bn_graph.errors import InputError

_PROC = Path("/proc/self")
# By the version of control groups: the files of the limit and of the usage, and what of the usage can be reclaimed.
# https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, https://docs.kernel.org/admin-guide/cgroup-v2.html
_CGROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def free_memory() -> int:
    """Bytes that this process can still have."""
    free = [psutil.virtual_memory().available, *_left_by_limits()]
    if sys.platform == "linux":
        free += _left_by_cgroups(_PROC)
    return max(0, min(free))


def check_memory(name, size: int, what: str) -> None:
    """Raises `InputError`, "`name`: `what` ... GB of memory", where `size` bytes are not free."""
    free = free_memory()
    if size > free:
        raise InputError(f"{name}: {what} {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


def _left_by_limits():
    """What `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    used = psutil.Process().memory_info()
    for limit, size in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, getattr(used, "data", 0))):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - size


def _left_by_cgroups(proc):
    """What the memory controllers of the control groups leave, of version 1 and 2: of our own group and those above.

    proc: /proc/self.
    """
    for version, folder, mount in _cgroups(proc):
        for group in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or nothing to be read
                limit_file, usage_file, reclaimable = _CGROUP_FILES[version]
                limit, usage = (int((group / name).read_text()) for name in (limit_file, usage_file))
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield limit - usage + int(stat.get(reclaimable, 0))
            if group == mount:
                break


def _cgroups(proc):
    """(version, folder, mount point) of the control groups that limit the memory of this process."""
    try:
        mounts = [line.split(" - ") for line in (proc / "mountinfo").read_text().splitlines()]
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for number, controllers, path in groups:
        version = 2 if number == "0" else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        for fields, (kind, _, options) in ((left.split(), right.split(maxsplit=2)) for left, right in mounts):
            if kind != ("cgroup2" if version == 2 else "cgroup") or (
                version == 1 and "memory" not in options.split(",")
            ):
                continue
            root, mount = fields[3], Path(fields[4])
            # In a namespace of its own, a container may be told a path that is outside of what is mounted there.
            inside = path.removeprefix(root).lstrip("/") if path.startswith(root) else ""
            yield version, mount / inside, mount
