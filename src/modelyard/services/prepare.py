"""`python -m modelyard.services.prepare`: make, once an installation, what first starts copy.

`make install` runs it. It starts each service that has a `seed` in a temporary folder, which also
lets Prefect unpack its UI, stops it, and keeps the database. Does nothing where the seeds of the
installed versions exist.
"""

import sys
import tempfile
from pathlib import Path

from modelyard.errors import ModelyardError
from modelyard.services import seeds, specs, supervisor, waiting
from modelyard.settings import Settings


def prepare(root: Path) -> list[Path]:
    """Make the missing seeds of the services of the project at ``root``; returns their folders.

    Raises:
        ServiceUnavailable: A service does not start; the message has the end of its log.
    """
    wanted = {
        name: spec.seed
        for name, spec in specs.load(root).items()
        if spec.seed and not seeds.folder(spec.seed).exists()
    }
    if not wanted:
        return []
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        state = Path(folder)
        nowhere = {"mlflow_tracking_uri": None, "prefect_api_url": None, "serving_url": None}
        settings = Settings().model_copy(update={"state_dir": state, **nowhere})
        try:
            services = supervisor.start(settings, root, names=list(wanted))
            waiting.wait(services.values())
        finally:
            supervisor.down(settings)
        return [seeds.keep(seed, state / name) for name, seed in wanted.items()]


if __name__ == "__main__":
    try:
        prepare(Path.cwd())
    except ModelyardError as error:
        sys.exit(str(error))
