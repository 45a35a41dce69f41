"""How a rank's failure reaches the caller: a JSON file in the folder of the launch."""

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard import errors
from modelyard.artifacts import read_json, write_json

# A worker whose neighbour died waits for the launcher to see the neighbour first.
_PATIENCE_S = 20.0


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Write the exception that leaves this block to ``folder`` as this rank's failure, and end."""
    try:
        yield
    except Exception as error:
        if _is_lost_neighbour(error):
            time.sleep(_PATIENCE_S)
        rank = int(os.environ["RANK"])
        known = isinstance(error, errors.ModelyardError)
        write_json(
            folder / f"failure-{rank:05d}.json",
            {
                "rank": rank,
                "kind": type(error).__name__,
                "message": error.message if known else str(error),
                "remedy": error.remedy if known else "",
                "expected": known,
                "traceback": traceback.format_exc(),
            },
        )
        # Raised further, torch would leave a pickle of it in the temporary folder.
        os._exit(1)


def first_failure(folder: Path, workers: int) -> errors.ModelyardError | None:
    """The error to raise for the failures in ``folder``; none if no worker left one.

    It is the worker's own if that was meant for the user.

    Any other becomes TrainingFailed with rank and traceback.
    """
    found = [read_json(path) for path in sorted(folder.glob("failure-*.json"))]
    if not found:
        return None
    failure = next((failure for failure in found if failure["expected"]), found[0])
    if failure["expected"]:
        kind = getattr(errors, failure["kind"], errors.TrainingFailed)
        place = f" (rank {failure['rank']} of {workers})" if kind is errors.TrainingFailed else ""
        return kind(failure["message"] + place, failure["remedy"])
    return errors.TrainingFailed(
        f"rank {failure['rank']} of {workers} failed: {failure['kind']}: {failure['message']}\n"
        f"{failure['traceback']}",
        "Correct what the last lines of the traceback name, then run again.",
    )


def _is_lost_neighbour(error: Exception) -> bool:
    """Whether a collective failed because another worker is gone (gloo says so in words alone)."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
