"""The systems that train the tutorial's network, each as its own users would write it for a computer without a GPU.

Every system trains on the same rows in the same order, with the numbers of `bn_graph.config`. A new one is a module
here with a function of a `Task` that returns what `task.measured` makes, and a line in `SYSTEMS`.
"""

from typing import NamedTuple


class System(NamedTuple):
    """A system of the benchmark."""

    title: str  # in tables and figures
    train: str | None  # module:function, of this package; None: Python 2.7, see time_original.py
    packages: tuple = ()  # that it needs beside those of the port


SYSTEMS = {  # in the order of their turns
    "compiled": System("this port, engine compiled", "port:compiled", ("tensorflow",)),
    "in_graph": System("this port, engine in_graph", "port:in_graph", ("tensorflow",)),
    "session": System("this port, engine session", "port:session", ("tensorflow",)),
    "graph_2016": System("the graph of 2016, imported", "graph_2016:train", ("tensorflow",)),
    "original": System("the original, TensorFlow 0.12.1", None),
    "keras_fit": System("Keras 3 on TensorFlow, fit", "keras:fit", ("tensorflow", "keras")),
    "keras_train_on_batch": System(
        "Keras 3 on TensorFlow, train_on_batch", "keras:train_on_batch", ("tensorflow", "keras")
    ),
    "torch": System("PyTorch", "torch:eager", ("torch",)),
    "torch_compile": System("PyTorch, torch.compile", "torch:compiled", ("torch",)),
    "jax": System("JAX, jit", "jax:step_in_jit", ("jax", "optax")),
    "jax_loop": System("JAX, fori_loop inside jit", "jax:loop_in_jit", ("jax", "optax")),
    "floor": System("floor: two products and Adam", "floor:train", ("tensorflow",)),
}
