"""params.yaml, typed and frozen.

An unknown key or an impossible value is refused with its path and the nearest valid one.
"""

from modelyard.params.data import DataParams, Expectation, Quality, Split
from modelyard.params.fields import DataSchema, Dialect, Field, FieldConstraints
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
from modelyard.params.prepare import (
    Audio,
    Categories,
    Clean,
    Leakage,
    Numbers,
    Outliers,
    Prepare,
    Text,
    Vocabulary,
)
from modelyard.params.serve import Canary, Disclose, PredictionLog, ServeParams, Shadow
from modelyard.params.tree import read_tree

__all__ = [
    "Audio",
    "Budgets",
    "Canary",
    "Categories",
    "Clean",
    "CompressParams",
    "DataParams",
    "DataSchema",
    "Dialect",
    "Disclose",
    "EarlyStopping",
    "EvaluateParams",
    "Expectation",
    "Field",
    "FieldConstraints",
    "Leakage",
    "Loss",
    "ModelParams",
    "Numbers",
    "Optimizer",
    "Outliers",
    "Params",
    "PredictionLog",
    "Prepare",
    "PromoteParams",
    "Quality",
    "RegistryParams",
    "Schedule",
    "ServeParams",
    "Shadow",
    "Split",
    "Text",
    "TrainParams",
    "Vocabulary",
    "assign",
    "check_name",
    "load",
    "parse",
    "read_tree",
    "with_overrides",
]
