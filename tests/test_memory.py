"""Memory is asked of what leaves least of it: the machine, a container's control groups, or a limit of the shell."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from bn_graph import memory

ROOT = Path(__file__).parent.parent
GB = 10**9


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 GB whose control groups are files in a folder: a function that mounts and fills them."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GB}))
    monkeypatch.setattr(sys, "platform", "linux")
    mounts, groups = [], []

    def mount(version, path, files, root="/"):
        """Mounts a hierarchy and puts this process into the group `path`. files: path of a file to its content."""
        point = tmp_path / f"cgroup{version}"
        for name, content in files.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_text(f"{content}\n")
        kind = "cgroup cgroup rw,memory" if version == 1 else "cgroup2 cgroup rw,nsdelegate"
        mounts.append(f"3{version} 31 0:32 {root} {point} rw,relatime - {kind}\n")
        groups.append(f"4:memory:{path}\n" if version == 1 else f"0::{path}\n")
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc" / "mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "".join(mounts))
        (tmp_path / "proc" / "cgroup").write_text("1:cpu:/elsewhere\n" + "".join(groups))

    return mount


def v1(path, limit, usage, reclaimable=0):
    return {
        f"{path}memory.limit_in_bytes": limit,
        f"{path}memory.usage_in_bytes": usage,
        f"{path}memory.stat": f"cache 7\ntotal_inactive_file {reclaimable}",
    }


def v2(path, limit, usage, reclaimable=0):
    return {
        f"{path}memory.max": limit,
        f"{path}memory.current": usage,
        f"{path}memory.stat": f"anon 7\ninactive_file {reclaimable}",
    }


def test_without_control_groups_the_machine_says_it(machine, tmp_path):
    assert memory.free_memory() == 64 * GB


@pytest.mark.parametrize("version, files", [(1, v1), (2, v2)])
def test_a_container_has_what_its_control_group_leaves(machine, version, files):
    machine(version, "/docker/42", files("docker/42/", 2 * GB, GB, reclaimable=GB // 4))
    assert memory.free_memory() == GB + GB // 4


@pytest.mark.parametrize("version, files", [(1, v1), (2, v2)])
def test_a_group_further_up_may_leave_less(machine, version, files):
    machine(version, "/slice/service", files("slice/", 3 * GB, 25 * 10**8) | files("slice/service/", 2 * GB, GB))
    assert memory.free_memory() == 5 * 10**8


@pytest.mark.parametrize("version, files", [(1, v1), (2, v2)])
def test_a_container_that_sees_its_own_group_as_the_root_has_what_that_leaves(machine, version, files):
    machine(version, "/docker/42", files("", 2 * GB, GB), root="/docker/42")
    assert memory.free_memory() == GB
    machine(version, "/../../outside", files("", 2 * GB, GB))
    assert memory.free_memory() == GB


def test_of_both_versions_the_smaller_counts_and_no_limit_is_none(machine):
    machine(1, "/a", v1("a/", 9223372036854771712, GB))
    machine(2, "/b", v2("b/", "max", GB))
    assert memory.free_memory() == 64 * GB
    machine(2, "/c", v2("c/", 4 * GB, GB))
    assert memory.free_memory() == 3 * GB


def test_a_group_that_has_more_than_its_limit_leaves_nothing(machine):
    machine(2, "/a", v2("a/", GB, 2 * GB))
    assert memory.free_memory() == 0


def test_a_small_file_that_holds_more_than_ulimit_leaves_is_refused_in_one_line(tmp_path):
    """What is in it takes 0.9 GB, as it was read and in its order: the machine has that, the limit leaves less."""
    rows = 600_000
    images, labels = np.zeros((rows, 28, 28), np.uint8), np.arange(rows, dtype=np.uint8) % 2
    path = tmp_path / "large.npz"
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images[:100], y_test=labels[:100])
    assert path.stat().st_size < 10**7
    command = f"ulimit -v 1000000; exec '{sys.executable}' scripts/run_tutorial.py --steps 1 --data '{path}'"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith(f"run_tutorial.py: {path}: ") and process.stderr.count("\n") == 1
    assert "which takes 0.9 GB of memory" in process.stderr
