"""Records of a run, in JSON."""

import json

from tests.fuzzing.damage import damaged


def seeds():
    from bn_graph.config import NOTEBOOK, PAGE
    from bn_graph.record import TrainingRecord

    measured = dict(train_loss=[2.5, 0.5], train_accuracy=[0.1, 0.9], valid_step=[0], valid_accuracy=[0.25])
    measured |= dict(learning_rate=[0.001], test_accuracy=0.5, seconds=1.5)
    records = [
        TrainingRecord(PAGE, "stratified", "embedded"),
        TrainingRecord(NOTEBOOK, "original", "openml", **measured),
    ]
    return [{"record.json": record.to_json().encode()} for record in records]


# Values in JSON, and what is not quite JSON.
# fmt: off
WORDS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "-" + "9" * 400, "9" * 5000, "1e-999", "-0",
    "-0.0", "null", "true", "false", '""', '"page"', '"\\ud800"', '"\\u0000\\n"', '"' + "x" * 100_000 + '"', "{}",
    "[]", "[null]", "[NaN]", "[1e999]", "[" + "9" * 400 + "]", "[true]", '["1"]', "[[1]]", '{"a": 1}', "0", "1",
    "-1", "0.5", "2", "2.0", "2147483647", "2147483648", "1" + "0" * 30, "01", "+1", "1.", ".5", "0x10", "1_000",
    "'x'", "undefined", "", "\u0663",
]
# fmt: on


def json_words(rng, depth=0):
    """A value, in JSON or nearly."""
    way = rng.random()
    if way < 0.01 and not depth:
        length = rng.choice([50, 900, 990, 5000, 100_000])
        opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
        return opening * length + "1" + closing * rng.choice([length, 0, length - 1])
    if way < 0.2 and depth < 4:
        values = [json_words(rng, depth + 1) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            return f"[{', '.join(values)}]"
        return "{" + ", ".join(f"{rng.choice(WORDS)}: {value}" for value in values) + "}"
    return rng.choice(WORDS)


def damage(rng, seeds):
    content = rng.choice(seeds)["record.json"]
    way = rng.randrange(10)
    if way < 2:
        content = damaged(rng, content, [seed["record.json"] for seed in seeds])
    elif way == 2:
        content = json_words(rng).encode("utf-8", "surrogatepass")
    else:
        items = [(json.dumps(key), json.dumps(value)) for key, value in json.loads(content).items()]
        for _ in range(min(rng.choice([1, 1, 2, 5]), len(items))):
            place = rng.randrange(len(items))
            how = rng.randrange(8)
            if how == 0:
                del items[place]
            elif how == 1:
                items.append((items[place][0], json_words(rng)))  # a key twice
            elif how == 2:
                items[place] = json_words(rng), items[place][1]
            else:
                items[place] = items[place][0], json_words(rng)
        content = ("{" + ", ".join(f"{key}: {value}" for key, value in items) + "}").encode()
        if way == 3:
            content = rng.choice(
                [b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content + content, b"\xff"]
            )
    return {"record.json": content}


def parse(folder):
    from bn_graph.record import TrainingRecord, record_written_by_us

    path = folder / "record.json"
    record_written_by_us(path)
    record = TrainingRecord.load(path)
    assert TrainingRecord.from_json(record.to_json()) is not None  # what was loaded can be written and loaded again
