"""params.yaml, typed and frozen.

An unknown key or an impossible value is refused with its path and the nearest valid one.
"""

from modelyard.params.data import (
    DataParams,
    DataSchema,
    Dialect,
    Expectation,
    Field,
    FieldConstraints,
    Quality,
    Split,
)
from modelyard.params.load import assign, load, parse, with_overrides
from modelyard.params.model import (
    Budgets,
    CompressParams,
    EarlyStopping,
    EvaluateParams,
    Loss,
    ModelParams,
    Optimizer,
    Params,
    PromoteParams,
    RegistryParams,
    Schedule,
    TrainParams,
    check_name,
)
from modelyard.params.tree import read_tree

__all__ = [
    "Budgets",
    "CompressParams",
    "DataParams",
    "DataSchema",
    "Dialect",
    "EarlyStopping",
    "EvaluateParams",
    "Expectation",
    "Field",
    "FieldConstraints",
    "Loss",
    "ModelParams",
    "Optimizer",
    "Params",
    "PromoteParams",
    "Quality",
    "RegistryParams",
    "Schedule",
    "Split",
    "TrainParams",
    "assign",
    "check_name",
    "load",
    "parse",
    "read_tree",
    "with_overrides",
]
