"""What the process that workers are forked from imports once for all of them.

Nothing here may start a thread, which a fork would not copy: so no pyarrow and no pandas.
"""

# ruff: noqa: E402
import signal

# First: Ctrl-C reaches every process of the terminal. The caller tells of it; whoever is forked
# from here, or still loads, ends without a traceback of its own.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import safetensors.torch
import torch._dynamo
import torch.distributed.elastic.multiprocessing

import modelyard.training.worker

__all__ = ["modelyard", "safetensors", "torch"]
