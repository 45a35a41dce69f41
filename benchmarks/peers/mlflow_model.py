"""Write the model in MLflow's format, for ``mlflow models serve``.

``python mlflow_model.py MODEL.onnx FOLDER``
"""
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

import sys

import mlflow
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

model = onnx.load(sys.argv[1])
(given,) = model.graph.input
shape = (-1, *(axis.dim_value for axis in given.type.tensor_type.shape.dim[1:]))
mlflow.onnx.save_model(
    model,
    sys.argv[2],
    signature=ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), shape, given.name)])),
    onnx_execution_providers=["CPUExecutionProvider"],
    onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
)
