"""What the process that workers are forked from imports once for all of them."""

import pandas
import pyarrow.parquet
import safetensors.torch
import torch._dynamo
import torch.distributed.elastic.multiprocessing

import modelyard.training.worker

__all__ = ["modelyard", "pandas", "pyarrow", "safetensors", "torch"]
