"""How graphs are written."""

import tensorflow as tf

from tests.recording.audit_graphs.networks import VERSION


def write_meta_graph(path, saver=None):
    """Writes the default graph, with what the Saver has to say, or any Saver in a collection."""
    options = {"clear_devices": True}
    if VERSION >= (1, 12):
        options["strip_default_attrs"] = True
    export = tf.train.export_meta_graph if saver is None else saver.export_meta_graph
    meta = export(**options)
    # The descriptions of the ops are half of a small file, and the same in each.
    meta.meta_info_def.ClearField("stripped_op_list")
    write_message(path, meta)


def write_message(path, message):
    with open(path, "wb") as f:
        f.write(message.SerializeToString(deterministic=True))
