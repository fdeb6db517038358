"""TF_CONFIG: which processes make up a cluster, and which of them this one is.

    TF_CONFIG='{"cluster": {"chief": ["10.0.0.1:2222"], "worker": ["10.0.0.2:2222"], "ps": ["10.0.0.3:2222"]},
                "task": {"type": "worker", "index": 0}}'

The format is that of TensorFlow's estimators and of the programs that start clusters for them. TensorFlow is not needed
to read it.
"""

import json
import re
from typing import NamedTuple

from bn_graph.errors import InputError

_CHIEF = ("chief", "master")  # what newer and older TensorFlow call it
_JOBS = (*_CHIEF, "worker", "ps")
_ADDRESS = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?):([1-9][0-9]{0,4})")


class Task(NamedTuple):
    """One process of a cluster."""

    job: str  # chief, master, worker or ps
    index: int  # within its job
    address: str  # host:port

    @property
    def name(self) -> str:
        return f"{self.job} {self.index}"

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def device(self) -> str:
        """Its name in TensorFlow."""
        return f"/job:{self.job}/task:{self.index}"

    def __str__(self):
        return f"{self.name} ({self.address})"


class Cluster(NamedTuple):
    """A cluster, seen by one of its processes."""

    jobs: dict  # job to the list of its addresses, as `tf.train.ClusterSpec` takes it
    me: Task
    replicas: tuple  # the `Task`s that train; the first is the chief
    ps: tuple  # the `Task`s that hold the variables

    @property
    def chief(self) -> Task:
        return self.replicas[0]

    @property
    def tasks(self) -> tuple:
        """All its `Task`s."""
        return self.replicas + self.ps

    @property
    def replica(self) -> int | None:
        """Which of the replicas this process is, 0 for the chief; None for a parameter server."""
        return self.replicas.index(self.me) if self.me in self.replicas else None


def cluster_of(environ) -> Cluster | None:
    """The `Cluster` that TF_CONFIG in `environ`, a mapping of strings, names; None where it names none.

    The chief is the task `chief` or, in older configurations, `master`; where there is neither, it is worker 0.

    Raises `InputError`.
    """
    text = environ.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        content = json.loads(text, object_pairs_hook=_dict_without_duplicates)
    except (ValueError, RecursionError) as error:  # InputError is a ValueError
        raise InputError(f"TF_CONFIG: not JSON: {str(error)[:100]}") from None
    if not isinstance(content, dict):
        raise InputError(f"TF_CONFIG: expected an object, found {_quoted(content)}")
    jobs = content.get("cluster") or {}
    if jobs == {}:
        return None
    _check_jobs(jobs)
    tasks = [Task(job, index, address) for job in _JOBS for index, address in enumerate(jobs.get(job, []))]
    _check_tasks(tasks)
    replicas = tuple(task for task in tasks if task.job != "ps")
    ps = tuple(task for task in tasks if task.job == "ps")
    if not ps:
        raise InputError('TF_CONFIG: cluster: expected "ps", one or more parameter servers, found none')
    if not replicas:
        raise InputError('TF_CONFIG: cluster: expected "chief" or "worker", found neither')
    return Cluster(jobs, _own_task(content.get("task"), jobs, tasks), replicas, ps)


def _check_jobs(jobs):
    """Raises `InputError` where `jobs` is no object of lists of addresses."""
    if not isinstance(jobs, dict):
        raise InputError(f"TF_CONFIG: cluster: expected an object, found {_quoted(jobs)}")
    for job, addresses in jobs.items():
        if job not in _JOBS:
            raise InputError(f"TF_CONFIG: cluster: found the job {_quoted(job)}; expected some of {', '.join(_JOBS)}")
        if not isinstance(addresses, list) or not addresses:
            raise InputError(f"TF_CONFIG: cluster: {job}: expected a list of addresses, found {_quoted(addresses)}")
        for address in addresses:
            match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
            if not match or int(match[2]) > 65535:
                raise InputError(
                    f"TF_CONFIG: cluster: {job}: expected host:port, a name or an IPv4 address and a port from 1 to"
                    f" 65535, found {_quoted(address)}"
                )


def _check_tasks(tasks):
    """Raises `InputError` where two of the `Task`s have one address, or there are two chiefs."""
    for task in tasks:
        first = next(other for other in tasks if other.address.lower() == task.address.lower())
        if first != task:
            pair = f"{first.job} {first.index} and {task.job} {task.index}"
            raise InputError(f"TF_CONFIG: cluster: {pair} have one address, {task.address}")
    chiefs = [task for task in tasks if task.job in _CHIEF]
    if len(chiefs) > 1:
        raise InputError(f"TF_CONFIG: cluster: expected one chief, found {len(chiefs)}")


def _own_task(content, jobs, tasks):
    """The one of `tasks` that `content`, the object `task`, names. Raises `InputError`."""
    if not isinstance(content, dict):
        raise InputError(f'TF_CONFIG: task: expected {{"type": ..., "index": ...}}, found {_quoted(content)}')
    job, index = content.get("type"), content.get("index")
    if job == "evaluator":
        raise InputError(f"TF_CONFIG: task: the chief validates, no evaluator does; expected {' or '.join(jobs)}")
    if job not in list(jobs):
        raise InputError(f"TF_CONFIG: task: type: expected {' or '.join(jobs)}, found {_quoted(job)}")
    if isinstance(index, str) and re.fullmatch("[0-9]{1,9}", index):
        index = int(index)  # some programs that write TF_CONFIG quote it
    if type(index) is not int or not 0 <= index < len(jobs[job]):
        raise InputError(f"TF_CONFIG: task: index: {job} has 0 to {len(jobs[job]) - 1}, found {_quoted(index)}")
    return next(task for task in tasks if task[:2] == (job, index))


def _dict_without_duplicates(pairs):
    content = dict(pairs)
    if len(content) < len(pairs):
        raise InputError(f"a name is there twice among {', '.join(repr(name)[:20] for name, _ in pairs[:5])}")
    return content


def _quoted(value):
    """The beginning of a value as JSON, for an error."""
    try:
        return json.dumps(value)[:60]
    except RecursionError:
        return "something nested too deeply"
