"""Checkpoints of both formats."""

import functools
import tempfile
from pathlib import Path

from tests.fuzzing.damage import NUMBERS, damaged, varint
from tests.fuzzing.harness import files_of, write


def v2_seeds():
    return checkpoint_seeds("v2", "v2_sharded", "hidden16_v2.ckpt")


def v1_seeds():
    return checkpoint_seeds("v1", "v1_sharded", "hidden16_v1.ckpt")


@functools.cache
def checkpoint_seeds(*kinds):
    """Checkpoints of these kinds, each beside what is in it: path, values and the files."""
    from tests.formats.checkpoint_files import KINDS, save_all_sorts
    from tests.paths import REFERENCE

    seeds = []
    for kind in kinds:
        if kind not in KINDS:
            seeds.append({path.name: path.read_bytes() for path in (REFERENCE / "checkpoint").glob(f"{kind}*")})
            continue
        with tempfile.TemporaryDirectory() as folder:
            save_all_sorts(Path(folder, "all.ckpt"), kind)
            seeds.append(files_of(Path(folder)))
    return seeds


@functools.cache
def values_of(kind, seed):
    """What is in a seed that is not damaged."""
    with tempfile.TemporaryDirectory() as folder:
        write({"v1": v1_seeds, "v2": v2_seeds}[kind]()[seed], Path(folder))
        return checkpoint_in(Path(folder)).read_all()


def checkpoint_in(folder):
    from bn_graph.formats.tf_checkpoint import Checkpoint

    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(("all", "hidden")))
    name = names[0] if names else "all.ckpt"
    if "-?????-of-" not in name and "-of-" in name and ".data-" not in name:  # V1 in parts is named by its pattern
        name = f"{name[: -len('00000-of-00002')]}?????-of-{name[-5:]}"
    return Checkpoint(folder / name.removesuffix(".index"))


@functools.cache
def table_of(content):
    from bn_graph.formats.leveldb_table import Table

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return list(Table(file.name).items())


def lying(rng, content):
    """A message with numbers changed: whatever field it is, its place on the wire is a number's or a length's."""
    if rng.random() < 0.3 or not content:
        return content[: rng.randrange(len(content) + 1)] + varint(rng.choice(NUMBERS))
    place = rng.randrange(min(len(content), 200))
    return content[:place] + varint(rng.choice(NUMBERS)) + content[place + 1 :]


def damage_of(kind):
    def damage(rng, seeds):
        from tests.formats.checkpoint_files import block, table, with_index, with_trailer

        number = rng.choice([*range(len(seeds)), *[len(seeds) - 1] * 4])  # the last one is the smallest
        files = dict(seeds[number])
        name = rng.choice(sorted(files))
        content, way = files[name], rng.randrange(7)
        if ".data-" in name or way < 2:
            # Blind damage, which checksums find: what is read all the same must be right.
            files[name] = damaged(rng, content) if rng.random() < 0.8 else content[:-60] + damaged(rng, content[-60:])
            values_of(kind, number)  # found out here, where nobody watches
            files["seed"] = str(number).encode()
        elif way == 2:
            handles = b"".join(varint(rng.choice([*NUMBERS, rng.randrange(1000)])) for _ in range(4))
            files[name] = content[:-48] + handles[:40].ljust(40, b"\0") + content[-8:]
        elif way == 3:
            content = with_trailer(damaged(rng, block(table_of(content)[: rng.choice([3, 999])])))
            files[name] = with_index(content, block([(b"\xff" * 99, b"\0" + varint(len(content) - 5))]))
        else:
            entries = list(table_of(content))
            for _ in range(rng.choice([1, 1, 3])):
                place = rng.choice([0, rng.randrange(len(entries))])
                key, value = entries[place]
                entries[place] = (
                    (lying(rng, key), value) if rng.random() < 0.2 else (key, rng.choice([lying, damaged])(rng, value))
                )
            entries += entries[: rng.choice([0, 0, 0, 0, 2])]
            files[name] = table(entries, rng.choice([1, 5, 1000]))
        if rng.random() < 0.02:
            del files[rng.choice(sorted(files))]
        return files

    return damage


def parse_of(kind):
    def parse(folder):
        found = checkpoint_in(folder).read_all()
        if (folder / "seed").exists():
            expected = values_of(kind, int((folder / "seed").read_bytes()))
            for name, value in found.items():
                assert value.tobytes() == expected[name].tobytes(), f"{name} is read, and is wrong"

    return parse
