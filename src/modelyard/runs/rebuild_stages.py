"""Run every stage of the project in the working folder, with nothing taken from a cache.

It is given to ``python -c`` in a worktree, so that the snapshot's own code does the work: folder of
fresh checkpoints, the candidate that shall ship, stages to leave out.
"""

import sys
from pathlib import Path

from modelyard import stages
from modelyard.compression import compress
from modelyard.errors import ModelyardError
from modelyard.settings import Settings


class _Fresh(Settings):
    """No checkpoint of an earlier training is gone on from."""

    @property
    def checkpoints(self) -> Path:
        return Path(sys.argv[1])


def main() -> None:
    """Run the stages in their order; the choice is the recorded one, whatever is quickest here."""
    _, _, chosen, *left_out = sys.argv
    setattr(compress, "select", lambda *_: chosen)  # noqa: B010 - a module's function
    try:
        for name in stages.STAGES:
            if name not in left_out:
                stages.execute(name, Path(), stages.Execution(_Fresh()))
    except ModelyardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
