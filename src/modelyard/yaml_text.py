"""YAML text to values, by the quickest of the safe loaders."""

from typing import Any


def load_yaml(text: str | bytes) -> Any:
    """The value that YAML text stands for.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    import yaml

    return yaml.load(text, safe_loader())  # noqa: S506 - it is safe


def safe_loader() -> Any:
    """The class of libyaml's parser, ten times as fast on some hundred lines, else PyYAML's own."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
