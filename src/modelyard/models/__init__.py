"""The model zoo, and the way to the user's own factory: rows in, logits out."""

from modelyard.models.factory import build
from modelyard.models.trained import load, save

__all__ = ["build", "load", "save"]
