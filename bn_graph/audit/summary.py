"""What several outputs say of a report: lists that are cut short, and its counts in a line."""

import collections

from bn_graph.audit.graph.flat_graph import printable

SEVERITIES = ("error", "warning", "note")
_MOST_NAMES = 4  # in a list, before it says how many more there are


def shortened(names):
    """Names in a list for a line of text: the first few, and how many more there are."""
    names = [printable(name) for name in dict.fromkeys(names)]
    return ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")


def is_shortened(names):
    """Whether `shortened` leaves some of these names out."""
    return len(set(names)) > _MOST_NAMES


def summary(report):
    """What an `AuditReport` has, counted, in a line."""
    if not report.layers:
        parts = ["no batch-norm layer found"]
    else:
        towers = {tower["op"] for layer in report.layers for tower in layer["towers"]}
        parts = [_count(len(report.layers), "batch-norm layer")] + ([_count(len(towers), "use")] if towers else [])
    counts = collections.Counter(finding.severity for finding in report.findings)
    parts += [_count(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    if report.layers and not counts and not report.left_out:
        parts.append("nothing wrong, as far as the graph says" if report.undecided else "nothing wrong")
    if report.undecided:
        parts.append(f"{len(report.undecided)} undecided")
    if report.left_out:
        parts.append(f"{_count(report.left_out, 'finding')} left out")
    return ", ".join(parts)


def _count(count, name):
    return f"{count} {name}{'' if count == 1 else 's'}"
