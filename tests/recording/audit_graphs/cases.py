"""The list of graphs, and the decorator that puts a function on it.

A case is a function that builds a graph. Its name is the graph's name, and its docstring is the sentence that says why
an audit should find what it should find:

    @case(NEVER_RUN)
    def contrib_not_run():
        \"\"\"UPDATE_OPS are in the collection and nothing runs them.\"\"\"
        return one_tower(contrib_norm(True), "not run")

One decorator makes one graph. With a second one, and a name and arguments in it, the function makes another:

    @case(NEVER_RUN)
    @case(NEVER_RUN, name="contrib_fused_not_run", given=dict(image=True, fused=True))
    def contrib_not_run(image=False, **options):
"""

import collections

NEVER_RUN = ["updates-never-run", "error"]
NO_UPDATES = ["no-updates", "error"]
IN_EVALUATION = ["updates-in-evaluation", "error"]
WRONG = ["wrong-statistics", "error"]
WRONG_WARNING = ["wrong-statistics", "warning"]
UNSHARED = ["unshared-towers", "error"]
TRAINABLE = ["trainable-statistics", "error"]
NOT_SAVED = ["statistics-not-saved", "error"]
UNTOUCHED = ["statistics-untouched", "error"]
BIAS = ["cancelled-bias", "note"]
UNUSED = ["unused-parameter", "note"]
SLOW = ["slow-decay", "warning"]
DUPLICATE = ["duplicate-updates", "warning"]
TINY = ["tiny-batch", "warning"]
MIXED = ["mixed-variance", "warning"]
NOT_COPIED = ["statistics-not-copied", "error"]
ANOTHER_INPUT = ["updates-of-another-input", "error"]
IN_LOOP = ["updates-in-loop", "error"]
DEAD = ["unused-layer", "warning"]
FROZEN = ["frozen-layer-updates", "warning"]
DROPOUT = ["dropout-before-batch-norm", "note"]
ONE_TOWER = ["updates-of-one-tower", "note"]
DEFAULT = WRONG_WARNING

CASES = []

# What a function of a case returns.

MOVING = r"moving_(mean|variance)(_\d+)?:0$"
NO_VARIABLE = "^$"

Built = collections.namedtuple("Built", "train evaluate statistics skip saver train_op on_batch unfed")
Saved = collections.namedtuple("Saved", "kind save")


def built(
    train=None, evaluate=None, statistics=MOVING, skip=None, saver=None, train_op=None, on_batch=None, unfed=None
):  # fmt: skip
    """The graph is the default graph, and is written as a MetaGraph.

    train, evaluate: what a program fetches to train and to evaluate. statistics: a pattern of the variables that are
    looked at before and after; None: the graph is not run. skip: a pattern of those that are not looked at after all.
    saver: what the MetaGraph has for a Saver. train_op: what the audit is told, where only the graph knows its name.
    on_batch: whether the evaluation of one row depends on the other rows; None: it is not looked at. unfed: a pattern
    of the placeholders that a user has nothing for.
    """
    return Built(train, evaluate, statistics, skip, saver, train_op, on_batch, unfed)


def saved_in_folder(save):
    """save(folder) puts files there, and returns the name of the one to audit."""
    return Saved("folder", save)


def saved_as_graph_def(save):
    """save(path) writes a GraphDef."""
    return Saved("graph_def", save)


class Case(object):
    """A graph and what an audit should find in it.

    findings: [rule, severity] pairs; none: nothing is wrong. may: pairs that are not wrong to find, but need not be
    found. undecided: rules that an audit may call undecided, too. doubts: rules that it has to call undecided; None
    where nothing is expected of them. layers: their names, or None where no name is the only right one. since: the
    first TensorFlow release that has what the function needs. train_op, num_steps: what the audit is told. cond_v2:
    tf.cond builds an If with functions. given: arguments of the function.
    """

    def __init__(
        self, name, build, findings, may=(), undecided=(), layers=("net/bn",), since=(0, 12), train_op=None,
        num_steps=None, cond_v2=False, given=None, doubts=None,
    ):  # fmt: skip
        self.name = name
        self.family = build.__module__
        self.why = " ".join(build.__doc__.split()).rstrip(".")
        self.findings, self.may, self.undecided, self.doubts = findings, may, undecided, doubts
        self.layers = None if layers is None else list(layers)
        self.since, self.train_op, self.num_steps, self.cond_v2 = since, train_op, num_steps, cond_v2
        self._build, self._given = build, given or {}

    def build(self):
        return self._build(**self._given)


def case(*findings, **options):
    """Puts a graph on the list. The options are those of `Case`; name: the function's, where there is none.

    (A name that Python keeps for itself has an underscore at its end: `while_`.)
    """
    name = options.pop("name", None)

    def register(build):
        CASES.append(Case(name or build.__name__.rstrip("_"), build, findings, **options))
        return build

    return register
