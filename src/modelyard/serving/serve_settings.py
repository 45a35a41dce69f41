"""``serve.json`` of a model's serving folder: what the follower wrote there of ``serve``.

It is data from beside this process: what is not as it should be is as if it were not there.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import read_json

FILE = "serve.json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServeSettings:
    """``None`` stands for off, or for no bound.

    Attributes:
        shadow_percent: Of requests whose copy the challenger answers.
        shadow_atol: Scores that differ by more count as different.
        decimals: To which scores are rounded.
        top: How many classes keep their scores.
        log_sample: Share of the requests that are kept.
        log_days: For how long.
        log_mb: Up to how many megabytes (10^6 bytes).
        log_content: Whether pictures, sounds and texts are kept whole.
    """

    shadow_percent: float = 0.0
    shadow_atol: float = 0.01
    decimals: int | None = None
    top: int | None = None
    log_sample: float = 0.0
    log_days: float = 30.0
    log_mb: float = 500.0
    log_content: bool = False

    @property
    def hides(self) -> bool:
        """Whether callers see less than the model says."""
        return self.decimals is not None or self.top is not None


def read_settings(model: Path) -> ServeSettings:
    """The settings in a model's serving folder; the defaults where there are none to be read."""
    path = model / FILE
    try:
        tree = read_json(path)
        return _parse(tree)
    except FileNotFoundError:
        return ServeSettings()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _logger.error("%s cannot be read, so the defaults hold: %r", path, error)
        return ServeSettings()


def _parse(tree: dict[str, Any]) -> ServeSettings:
    shadow, disclose, log = (tree.get(key) or {} for key in ("shadow", "disclose", "log"))
    decimals, top = disclose.get("decimals"), disclose.get("top")
    return ServeSettings(
        shadow_percent=float(shadow["percent"]) if shadow else 0.0,
        shadow_atol=float(shadow["atol"]) if shadow else 0.01,
        decimals=None if decimals is None else int(decimals),
        top=None if top is None else int(top),
        log_sample=float(log["sample"]) if log else 0.0,
        log_days=float(log["days"]) if log else 30.0,
        log_mb=float(log["max_mb"]) if log else 500.0,
        log_content=bool(log.get("content", False)),
    )
