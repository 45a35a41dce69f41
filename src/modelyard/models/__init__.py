"""The model zoo, and the way to the user's own factory: images in, logits out."""

from modelyard.models.factory import build, import_factory
from modelyard.models.trained import load, save

__all__ = ["build", "import_factory", "load", "save"]
