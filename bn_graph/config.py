"""Every number of the 2016 tutorial, by name.

`PAGE`, `SCRIPT` and `NOTEBOOK` are the three published editions. Another run is one of them with something changed:

    dataclasses.replace(PAGE, updates="collected", seed=1)
"""

import dataclasses
import numbers

from bn_graph.errors import InputError

EDITIONS = ("page", "script", "notebook")
UPDATES = ("control_dependencies", "in_place", "collected")
IS_TRAINING = ("bool", "placeholder")
SPLITS = ("stratified", "original")
ENGINES = ("session", "in_graph", "compiled")
EXACT_ENGINES = ENGINES[:2]  # whose numbers are the same, bit for bit
BATCH_NORM_SETTINGS = ("updates", "center", "scale", "decay")
LARGEST_SEED = 2**31 - 2  # TensorFlow takes seeds modulo 2**31 - 1: a larger one would be another's twin
LARGEST_NUMBER = 2**31 - 1  # the tutorial's global step is an int32


@dataclasses.dataclass(frozen=True)
class TutorialConfig:
    """The settings of one run. The defaults are the page's, with its moving averages mended.

    Raises `InputError` where a value is outside what its comment says.
    """

    edition: str = "page"  # whose printed format is used: page, script or notebook
    batch_norm: bool = True  # False: the same network without batch_norm; the next four settings are then the edition's
    updates: str = "control_dependencies"  # who updates the moving averages: see `bn_graph.graph`
    center: bool = True  # batch_norm adds beta to the normalised activations
    scale: bool = False  # batch_norm multiplies the normalised activations by gamma
    decay: float = 0.9  # what the moving averages keep of themselves at an update, 0 to 1
    is_training: str = "bool"  # bool: three towers; placeholder: one tower, told by what is fed
    seed: int | None = None  # the graph-level seed, 0 to 2147483646; None: one is drawn for each graph
    steps: int = 1000  # training steps, 0 to 2147483647
    batch_size: int = 64  # rows in a batch, 1 or more
    hidden_size: int = 1024  # units of the hidden layer, 1 or more
    learning_rate: float = 0.001  # before its exponential decay, greater than 0, as float32 holds it
    keep_prob: float = 0.6  # what dropout keeps, in (0, 1]
    eval_every: int = 50  # steps between two validations
    print_every: int = 50  # steps between two printed lines, a multiple of eval_every

    def __post_init__(self):
        _one_of("edition", self.edition, EDITIONS)
        _one_of("batch_norm", self.batch_norm, (True, False))
        _one_of("updates", self.updates, UPDATES)
        _one_of("is_training", self.is_training, IS_TRAINING)
        _one_of("center", self.center, (True, False))
        _one_of("scale", self.scale, (True, False))
        _number("decay", self.decay, "a number from 0 to 1", lambda x: 0 <= x <= 1)
        _number(
            "learning_rate", self.learning_rate, "a number greater than 0, less than 2**128", lambda x: 0 < x < 2**128
        )
        _number("keep_prob", self.keep_prob, "a number greater than 0, at most 1", lambda x: 0 < x <= 1)
        check_whole("steps", self.steps, 0)
        for name in ("batch_size", "hidden_size", "eval_every", "print_every"):
            check_whole(name, getattr(self, name), 1)
        if self.seed is not None:
            check_whole("seed", self.seed, 0, LARGEST_SEED)
        if self.print_every % self.eval_every:
            raise InputError(
                f"print_every must be a multiple of eval_every ({self.eval_every}), found {self.print_every}"
            )
        if not self.batch_norm:
            self._check_batch_norm_settings()

    def batch_norm_words(self) -> str:
        """What a line about a run says of its batch norm."""
        return f"updates {self.updates}" if self.batch_norm else "without batch norm"

    def _check_batch_norm_settings(self):
        """Raises `InputError` where a setting of batch_norm was changed and there is no batch_norm."""
        published = PUBLISHED[self.edition]
        for name in BATCH_NORM_SETTINGS:
            value, default = getattr(self, name), getattr(published, name)
            if value != default:
                raise InputError(f"{name} must be {default} where batch_norm is False, found {value}: it has no effect")


def _one_of(name, value, choices):
    # by type too: 1 == True, and a record that says center=1 was not written by us
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise InputError(f"{name} must be {' or '.join(map(str, choices))}, found {value!r}")


def _number(name, value, accepted, accepts):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not accepts(value):
        raise InputError(f"{name} must be {accepted}, found {value!r}")


def check_whole(name, value, least, most=LARGEST_NUMBER):
    """Raises `InputError` where `value` is no whole number from `least` to `most`."""
    accepted = f"a whole number from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} must be {accepted}, found {value!r}")
    if not least <= value <= most:
        raise InputError(f"{name} must be {accepted}, found {value}")


# The published editions. What else differs between them is the format of the printed lines.
PAGE = TutorialConfig()
SCRIPT = TutorialConfig(edition="script", updates="in_place")
NOTEBOOK = TutorialConfig(edition="notebook", updates="in_place", scale=True, print_every=100)
PUBLISHED = {"page": PAGE, "script": SCRIPT, "notebook": NOTEBOOK}

NUM_FEATURES = 28 * 28

NUM_CLASSES = 10
