"""A fix as the audit prints it, and how it is followed."""

import ast
import builtins
import contextlib
import re

from bn_graph.tf1 import tf
from tests.audit.pieces import minimize
from tests.audit.sessions import loss_of

KNOWN = {"tf", "optimizer", "loss", "decay", *vars(builtins)}


class Fix:
    """The lines of a fix. With none, as for the program with its fault, nothing is changed."""

    def __init__(self, text=""):
        self.text = text

    def __bool__(self):
        return bool(self.text)

    @property
    def options(self):
        """The options in the call of the first line, with their values; what stands for a name is an Ellipsis.

        Also those that other libraries have in their place, as `is_training is training in tf.layers and Keras` says.
        """
        line, _, comment = self.text.partition("\n")[0].partition("#")
        options = {}
        for call in ast.walk(ast.parse(line.strip() or "0")) if is_parsable(line.strip()) else ():
            for keyword in getattr(call, "keywords", ()):
                options[keyword.arg] = keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
        for name, other in re.findall(r"(\w+) is (\w+) in", comment):
            options[other] = options[name]
        return options

    @property
    def explained(self):
        """The names that comments explain, to what they are in the graph: `# batch_mean = bn/moments/mean:0`."""
        comments = re.findall(r"^# (\w+ = .+)$", self.text, re.M)
        return dict(part.split(" = ") for comment in comments for part in comment.split(", "))

    @property
    def is_executable(self):
        """Whether it is lines that can be executed as they are."""
        if not is_parsable(self.text):
            return False
        nodes = list(ast.walk(ast.parse(self.text)))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        loaded = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        makes = any(isinstance(node, ast.With | ast.Assign) for node in nodes)
        returns = any(isinstance(node, ast.Return) for node in nodes)
        return makes and not returns and loaded <= KNOWN | stored | set(self.explained)

    def execute(self, **names):
        """Executes the lines in the default graph; the names that they give to what they make."""
        graph = tf.get_default_graph()
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        for name, target in self.explained.items():
            if name not in names:
                names[name] = variables.get(target) if target in variables else graph.get_tensor_by_name(target)
        names = {"tf": tf, "decay": 0.9, **names}
        if "loss" in self.text and "loss" not in names:
            names["loss"] = loss_of(graph)
        names.setdefault("optimizer", tf.train.GradientDescentOptimizer(0.01))
        exec(compile(self.text, "<fix>", "exec"), names)
        return names

    def train(self, loss, updates=(), **names):
        """The train op that the fix makes, if need be with its last lines alone, or else one that runs `updates`."""
        first, _, rest = self.text.partition("\n")
        lines = rest if re.match(r"[\w.]+\(", first) else self.text
        if "train_op" not in lines:
            return minimize(loss, updates)
        return Fix(lines).execute(loss=loss, **names)["train_op"]


def is_parsable(text):
    with contextlib.suppress(SyntaxError):
        ast.parse(text)
        return True
    return False
