"""Is my batch norm right? Finds what is wrong with the batch-norm layers of a TensorFlow 1 graph or checkpoint.

TensorFlow 1 gives no error where moving averages are never updated, or where a tower uses the wrong statistics. The
graph shows it. An audit is a pipeline: `formats.tf_graph` parses, `graph` flattens, `layers` finds the batch norms and
what updates them, `training_step` finds what trains them, `rules` judge, `report` prints.
"""

import importlib

from bn_graph.audit.report import AuditReport, Finding, Undecided

__all__ = ["AuditReport", "Finding", "Undecided", "audit_graph"]


def __getattr__(name):
    # Imported when it is first used: it needs TensorFlow, and the list of rules does not.
    if name != "audit_graph":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("bn_graph.audit.audit").audit_graph
