"""What the process that workers are forked from imports once for all of them.

Nothing here may start a thread, which a fork would not copy: so no pyarrow and no pandas.
"""

import safetensors.torch
import torch._dynamo
import torch.distributed.elastic.multiprocessing

import modelyard.training.worker

__all__ = ["modelyard", "safetensors", "torch"]
