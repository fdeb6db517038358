"""The 2016 tutorial *Using Batch Normalization*, in TensorFlow 1 graphs on today's TensorFlow.

    from bn_graph import PAGE, build_graph, load_mnist, split, train

    splits = split(load_mnist())
    record = train(build_graph(PAGE, splits), splits)

TensorFlow is imported when a name that needs it is first used: the data and the settings do without. Importing
`bn_graph` also makes tf-slim work on today's TensorFlow, for the whole process: see `bn_graph.tf1`.
"""

import importlib

import wrapt

__version__ = "1.0.0"

_MODULE_OF = {
    "TutorialConfig": "config",
    "PAGE": "config",
    "SCRIPT": "config",
    "NOTEBOOK": "config",
    "InputError": "errors",
    "Mnist": "mnist",
    "Splits": "mnist",
    "load_mnist": "mnist",
    "split": "mnist",
    "initialize": "layers",
    "batch_norm": "layers",
    "TutorialGraph": "graph",
    "build_graph": "graph",
    "train": "training",
    "TrainingRecord": "record",
    "plot_record": "saving.plot",
    "restore_original_checkpoint": "saving.restore",
    "export_model": "saving.export",
    "recording": "comparison.recordings",
    "audit_graph": "audit",
    "AuditReport": "audit",
    "Finding": "audit",
    "recalibrate": "recalibration.recalibrate",
    "Recalibration": "recalibration.report",
    "MovingStatisticsHook": "audit.monitor",
    "MovingStatisticsSession": "audit.monitor",
}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__():
    return sorted(__all__)


@wrapt.when_imported("tf_slim")
def _mend(_):
    """Mends tf-slim as soon as anyone imports it, without importing TensorFlow for those who do not."""
    importlib.import_module(f"{__name__}.tf1")
