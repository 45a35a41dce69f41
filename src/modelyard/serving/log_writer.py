"""``python -m modelyard.serving.log_writer FOLDER``: Parquet out of spool files, then it ends.

Workers start it (see ``prediction_log``). It has Arrow in memory for the second that it lives, and
runs at low priority; of several at once one works and the others wait.
"""

import argparse
import fcntl
import logging
import os
import time
from pathlib import Path

from modelyard import logs
from modelyard.serving.log_files import convert_all
from modelyard.serving.log_retention import expire, log_folders
from modelyard.serving.serve_settings import read_settings

_logger = logging.getLogger("modelyard.serving.log_writer")


def main() -> None:
    """Convert what is closed, of every model, and delete what is no longer kept."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.serving.log_writer")
    parser.add_argument("folder", type=Path, help="the serving folder")
    folder: Path = parser.parse_args().folder
    logs.configure(logs.default_format())
    os.nice(10)
    lock = os.open(folder / ".log-writer.lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    failed = False
    for model in log_folders(folder):
        settings = read_settings(model)
        try:
            _, num_torn = convert_all(model)
            if num_torn:
                _logger.warning("%d torn lines in the log of %s are lost", num_torn, model.name)
            expire(model, settings.log_days, settings.log_mb, time.time())
        except OSError as error:
            _logger.error("the predictions of %s cannot be written: %s", model.name, error)
            failed = True
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
