"""Distributed training: the stage, its launcher, and what every worker runs."""

from modelyard.training.context import EpochRecord, Stream, TrainContext
from modelyard.training.launcher import warm_up
from modelyard.training.train import train

__all__ = ["EpochRecord", "Stream", "TrainContext", "train", "warm_up"]
