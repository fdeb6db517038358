"""TF_CONFIG, which says what a process of a cluster is."""

import json

from tests.fuzzing import records
from tests.fuzzing.damage import NUMBERS
from tests.fuzzing.records import json_words


def seeds():
    jobs = {"chief": ["127.0.0.1:2222"], "worker": ["worker-0.local:2222", "10.0.0.3:2222"], "ps": ["10.0.0.4:2222"]}
    tasks = [{"type": "ps", "index": 0}, {"type": "worker", "index": "1"}]
    return [{"TF_CONFIG": json.dumps({"cluster": jobs, "task": task}).encode()} for task in tasks]


def damage(rng, seeds):
    content = rng.choice(seeds)["TF_CONFIG"]
    if rng.random() < 0.5:
        found = json.loads(content)
        part = found[rng.choice(["cluster", "task"])]
        key = rng.choice(sorted(part))
        mark = json.dumps(part.pop(key) if rng.random() < 0.9 else "")
        value = rng.choice([json_words(rng), f"[{json_words(rng)}]", mark.replace("2222", str(rng.choice(NUMBERS)))])
        part["HERE"] = "HERE"
        content = json.dumps(found).replace('"HERE": "HERE"', f"{json.dumps(key)}: {value}")
        return {"TF_CONFIG": content.encode("utf-8", "surrogatepass")}
    return {"TF_CONFIG": records.damage(rng, [{"record.json": content}])["record.json"]}


def parse(folder):
    from bn_graph.cluster.tf_config import cluster_of

    cluster = cluster_of({"TF_CONFIG": (folder / "TF_CONFIG").read_bytes().decode("utf-8", "surrogateescape")})
    if cluster:
        assert cluster.me in (*cluster.replicas, *cluster.ps) and (cluster.replica is None) == (
            cluster.me in cluster.ps
        )
        assert all(task.host and 0 < task.port < 65536 for task in (*cluster.replicas, *cluster.ps))
