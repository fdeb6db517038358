"""What a run measured, and the lines that the tutorial prints of it. To and from JSON."""

import dataclasses
import importlib.metadata
import json
import math
import platform
import sys

from bn_graph.config import TutorialConfig
from bn_graph.errors import InputError
from bn_graph.files import read_whole, write_whole

LARGEST = 2**28  # bytes of a record, which are some five million steps
_PACKAGES = ("tensorflow", "tf-slim", "numpy", "scikit-learn")

# How the editions print the validation accuracy and the test accuracy, in per cent.
_PRINTED = {
    "page": ("%2.f%%", "%4f%%"),
    "script": ("%.2f%%", "%.2f%%"),
    "notebook": ("%.2f%%", "%.2f%%"),
}


def versions(*others):
    """The versions of Python, the libraries that every number depends on, and the packages `others`."""
    packages = (*_PACKAGES, *others)
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


@dataclasses.dataclass(repr=False)
class TrainingRecord:
    """One run. Accuracies are fractions, times are seconds.

    In JSON it is one flat object: the fields below with those of `config` between them. There the setting
    `learning_rate` is called `initial_learning_rate`, because `learning_rate` is the measured one.
    """

    config: TutorialConfig  # with the seed that was used
    split: str  # stratified or original
    data: str  # where the digits came from
    engine: str = "session"  # who looped over the steps: session or in_graph
    versions: dict = dataclasses.field(default_factory=versions)  # of Python and the libraries
    train_loss: list = dataclasses.field(default_factory=list)  # one a step, of the batch, before the step's update
    train_accuracy: list = dataclasses.field(default_factory=list)  # likewise
    valid_step: list = dataclasses.field(default_factory=list)  # the steps after whose update it was validated
    valid_accuracy: list = dataclasses.field(default_factory=list)  # one a validation
    learning_rate: list = dataclasses.field(default_factory=list)  # one a validation: that of the next step
    test_accuracy: float | None = None  # None until it is tested
    seconds: float = 0.0  # the loop with its validations and checkpoints; start-up, data and the final test apart
    restored: str | None = None  # the checkpoint that the variables came from; None: they were initialised
    # Of training alone, without the first 50 steps; None if there are no more. Of a resumed run: since then.
    steps_per_second: float | None = None
    # Of a cluster: the name of each worker that ever joined, to its versions; more than one where it came back with
    # others. A record of one process has no such key in JSON.
    worker_versions: dict = dataclasses.field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """How many steps were trained."""
        return len(self.train_loss)

    def add_step(self, loss, accuracy):
        """Adds what a step measured on its batch."""
        self.train_loss.append(float(loss))
        self.train_accuracy.append(float(accuracy))

    def add_validation(self, step, accuracy, learning_rate):
        """Adds a validation, after the update of `step`."""
        self.valid_step.append(step)
        self.valid_accuracy.append(float(accuracy))
        self.learning_rate.append(float(learning_rate))

    def add_worker(self, name, versions):
        """Adds a worker that joined, by its name and its versions."""
        known = self.worker_versions.setdefault(name, [])
        if versions not in known:
            known.append(versions)

    def step_line(self, validation=-1) -> str:
        """The line that the tutorial prints after a validation, by its index; the latest one if none is given."""
        step = self.valid_step[validation]
        valid, _ = _PRINTED[self.config.edition]
        return (
            f"Epoch: %d:\tLoss: %f\t\tTrain Acc: %.2f%%\tValid Acc: {valid}\tLearning rate: %.6f"
        ) % (
            step,
            self.train_loss[step],
            self.train_accuracy[step] * 100,
            self.valid_accuracy[validation] * 100,
            self.learning_rate[validation],
        )  # fmt: skip

    def step_lines(self):
        """All lines that the tutorial has printed after validations."""
        for validation, step in enumerate(self.valid_step):
            if step % self.config.print_every == 0:
                yield self.step_line(validation)

    def test_line(self) -> str:
        """The last line that the tutorial prints."""
        _, test = _PRINTED[self.config.edition]
        return f"Test accuracy: {test}" % (self.test_accuracy * 100)

    def __repr__(self):
        config = self.config
        tested = "not tested" if self.test_accuracy is None else f"test accuracy {self.test_accuracy:.2%}"
        return (
            f"<TrainingRecord {config.edition}, {config.batch_norm_words()}, split {self.split}, seed {config.seed}: "
            f"{self.num_steps} of {config.steps} steps, {tested}>"
        )

    def to_json(self) -> str:
        """The record as JSON text, one object. A number that is not finite becomes null."""
        return json.dumps(self.to_object(), indent=1, allow_nan=False) + "\n"

    def to_object(self) -> dict:
        """What `to_json` writes, as a dict."""
        return self._object(self._measured())

    def without_lists(self) -> dict:
        """What `to_object` gives, but for the lists that grow with the run."""
        return self._object(name for name, kind in self._measured().items() if kind is not list)

    def part(self, steps: int, validations: int) -> dict:
        """The lists from a number of steps and of validations on, as `to_object` gives them."""
        first = dict.fromkeys(("train_loss", "train_accuracy"), steps)
        lists = [name for name, kind in self._measured().items() if kind is list]
        return {name: _finite_or_none(getattr(self, name)[first.get(name, validations) :]) for name in lists}

    def _object(self, measured):
        config = dataclasses.asdict(self.config)
        config["initial_learning_rate"] = config.pop("learning_rate")
        values = {name: _finite_or_none(getattr(self, name)) for name in measured}
        if not self.worker_versions:
            values.pop("worker_versions", None)
        return {**config, **values}

    @classmethod
    def _measured(cls):
        """The names of all fields but `config`, to their types."""
        return {field.name: field.type for field in dataclasses.fields(cls)[1:]}

    @classmethod
    def from_json(cls, text, name="record") -> "TrainingRecord":
        """The record that `to_json` wrote. `name` is what an error calls it.

        Raises `InputError` where the text is not JSON, or not the JSON of a record.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}: not JSON ({error})") from None
        return cls.from_object(content, name)

    @classmethod
    def from_object(cls, content, name="record") -> "TrainingRecord":
        """The record of what `to_object` gave. Raises `InputError` where it is something else."""
        if isinstance(content, dict):
            content.setdefault("engine", "session")  # records of before there were two
            content.setdefault("worker_versions", {})  # records of one process
            content.setdefault("batch_norm", True)  # records of before it could be switched off
        settings = [field.name for field in dataclasses.fields(TutorialConfig)]
        settings[settings.index("learning_rate")] = "initial_learning_rate"
        for key in (*settings, *cls._measured()):
            if not isinstance(content, dict) or key not in content:
                raise InputError(f"{name}: not a record of bn_graph: it has no {key}")
        measured = {key: _checked(f"{name}: {key}", content[key], kind) for key, kind in cls._measured().items()}
        steps, validations = len(measured["train_loss"]), len(measured["valid_step"])
        for key, length in dict(train_accuracy=steps, valid_accuracy=validations, learning_rate=validations).items():
            if len(measured[key]) != length:
                raise InputError(f"{name}: {key}: expected {length} numbers, found {len(measured[key])}")
        if not all(isinstance(known, list) for known in measured["worker_versions"].values()):
            raise InputError(f"{name}: worker_versions: expected a list for each worker")
        try:
            config = TutorialConfig(**{key.removeprefix("initial_"): content[key] for key in settings})
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return cls(config, **measured)

    def save(self, path):
        """Writes the record to `path` as JSON, whole or not at all. Raises OSError."""
        write_whole(path, self.to_json().encode())

    @classmethod
    def load(cls, path) -> "TrainingRecord":
        """The record in the file `path`. Raises `InputError` where it cannot be read or is not a record."""
        try:
            return cls.from_json(read_whole(path, LARGEST).decode(), str(path))
        except UnicodeDecodeError:
            raise InputError(f"{path}: not JSON (not UTF-8 text)") from None


def record_written_by_us(path) -> bool:
    """Whether the file `path` holds a record."""
    try:
        TrainingRecord.load(path)
    except InputError:
        return False
    return True


def _checked(name, value, kind):
    """A measured value of a record: of type `kind`, finite numbers, null as nan. Raises `InputError`."""
    if not isinstance(value, kind | int if kind is float else kind):
        raise InputError(f"{name}: found something of the wrong type, {type(value).__name__}")
    if type(value) in (int, float) and not _is_finite(value):
        raise InputError(f"{name}: expected a finite number")
    if kind is not list:
        return value
    if not all(x is None or _is_finite(x) for x in value):
        raise InputError(f"{name}: expected a list of finite numbers")
    return [math.nan if x is None else x for x in value]


def _is_finite(value):
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _finite_or_none(value):
    if isinstance(value, list):
        return [_finite_or_none(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
