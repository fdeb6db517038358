"""What a command is asked for: which paths, which rules, in which format. TensorFlow is not needed for that."""

from difflib import get_close_matches

from bn_graph.audit.output import github, json_object, sarif, text
from bn_graph.audit.rules import RULES
from bn_graph.errors import InputError
from bn_graph.formats.graph_paths import find_graph

FORMATS = {"text": text, "json": json_object, "sarif": sarif, "github": github}


def rule_names(listed: str) -> list[str]:
    """The rules that are listed with commas between. Raises `InputError` where one of them is none."""
    names = [name.strip() for name in listed.split(",")]
    known = [rule.NAME for rule in RULES]
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "--rules lists them"
            raise InputError(f"expected rules with commas between, found {name!r}; {hint}")
    return names


def selected_rules(select: list[str] | None, ignore: list[str]) -> set[str]:
    """The rules whose findings are reported. select: those alone; None: all. ignore: without these."""
    return {rule.NAME for rule in RULES if select is None or rule.NAME in select}.difference(ignore)


def check_path(path: str) -> str:
    """The path. Raises `InputError`, with what there is instead, where there is nothing that could be audited."""
    find_graph(path)
    return path


def try_each(function, items) -> tuple[list, list[InputError]]:
    """What a function returns of each item, and the `InputError`s of those that it cannot use."""
    results, errors = [], []
    for item in items:
        try:
            results.append(function(item))
        except InputError as error:
            errors.append(error)
    return results, errors
