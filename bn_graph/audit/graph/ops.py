"""The kinds of op that the audit knows, by their names in TensorFlow, and how many inputs they must have."""

import re

VARIABLE_OPS = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
ASSIGN_OPS = {
    "Assign",
    "AssignAdd",
    "AssignSub",
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
}
SWITCH_OPS = {"Switch", "RefSwitch"}
MERGE_OPS = {"Merge", "RefMerge"}
NEXT_ITERATION_OPS = {"NextIteration", "RefNextIteration"}
SELECT_OPS = {"Select", "SelectV2"}
# Ops whose result is their first input, as far as its origin goes.
SAME_VALUE_OPS = {
    "Identity",
    "RefIdentity",
    "ReadVariableOp",
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    *NEXT_ITERATION_OPS,
    *SWITCH_OPS,
    "Cast",
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "BroadcastTo",
    "StopGradient",
    "PreventGradient",
    "CheckNumerics",
    "Print",
    "Snapshot",
}
LOOP_OPS = {"LoopCond", "While", "StatelessWhile"}
COMPARE_OPS = {"Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr"}

ADD_OPS = {"Add", "AddV2", "BiasAdd"}
DIVIDE_OPS = {"RealDiv", "Div", "DivNoNan"}
REDUCE_OPS = {"Mean", "Sum"}
# Ops through which a mean or a variance stays one: arithmetic, choices, and what adds up over devices.
ARITHMETIC_OPS = (
    SAME_VALUE_OPS
    | MERGE_OPS
    | SELECT_OPS
    | ADD_OPS
    | DIVIDE_OPS
    | {"Sub", "Mul", "Square", "SquaredDifference", "Neg", "Reciprocal", "Maximum", "Minimum", "AddN", "Pow"}
    | {"NcclAllReduce", "CollectiveReduce", "CollectiveReduceV2", "HorovodAllreduce", "IdentityN"}
)

FUSED_OPS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"}
GLOBAL_OPS = {"BatchNormWithGlobalNormalization"}

GRADIENT_NAME = re.compile(r"(^|/)gradients(_\d+)?/")  # of the ops that tf.gradients makes

# No op of TensorFlow: a node of this kind stands for many control edges. It has conditions as a NoOp has.
CONTROL_GROUP = "ControlGroup"

EXACT_INPUTS = {
    **dict.fromkeys(("Rsqrt", "Sqrt", "Square", "Neg", "Reciprocal", "LogicalNot"), 1),
    **dict.fromkeys(("Add", "AddV2", "BiasAdd", "BiasAddV1", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Pow"), 2),
    **dict.fromkeys(("Maximum", "Minimum", "SquaredDifference", "Mean", "Sum", *SWITCH_OPS, *ASSIGN_OPS), 2),
    **dict.fromkeys(SELECT_OPS, 3),
    **dict.fromkeys(COMPARE_OPS, 2),
}
FEWEST_INPUTS = {
    **dict.fromkeys((*SAME_VALUE_OPS, *MERGE_OPS, "PlaceholderWithDefault"), 1),
    **dict.fromkeys(FUSED_OPS | GLOBAL_OPS, 5),
    **EXACT_INPUTS,
}


def is_optimizer_op(op):
    """Whether an op applies a gradient to a variable, or hands one on for a later step."""
    name = op.removeprefix("Resource").removeprefix("Sparse")
    return name.startswith("Apply") or op in ("AccumulatorApplyGradient", "ResourceAccumulatorApplyGradient")
