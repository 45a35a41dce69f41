"""How long the workers are waited for."""

import time
from dataclasses import dataclass, field

ACK_SECONDS = 10.0


@dataclass
class Patience:
    """How long the workers have been asked to load a version; anew when one comes or goes."""

    seconds: float = ACK_SECONDS
    _since: dict[str, tuple[int, frozenset[str], float]] = field(default_factory=dict)

    def is_over(self, name: str, sequence: int, workers: frozenset[str]) -> bool:
        """Whether these workers have had the time; without workers there is no hurry."""
        asked = self._since.get(name)
        if asked is None or asked[:2] != (sequence, workers):
            self._since[name] = (sequence, workers, time.monotonic())
            return False
        return bool(workers) and time.monotonic() - asked[2] > self.seconds
