"""TF_CONFIG, as it stands in the environment of a process."""

import json

TASKS = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]}


def tf_config(cluster=TASKS, job="worker", index=1, **others):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}, **others})}
