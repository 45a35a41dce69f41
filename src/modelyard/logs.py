"""How a server process writes its log: lines for people, or JSON, one object a line.

What a record is about (a request's id, a model, ...) is given as ``extra`` by the names in
``FIELDS``. Bodies, headers and keys are nowhere given.
"""

import json
import logging
import os
from datetime import UTC, datetime

FORMATS = ("text", "json")
FORMAT_VARIABLE = "MODELYARD_LOG_FORMAT"
FIELDS = ("request_id", "method", "path", "status", "ms", "model", "version", "caller")


def default_format() -> str:
    """The environment's format, else ``text``."""
    given = os.environ.get(FORMAT_VARIABLE, "text")
    return given if given in FORMATS else "text"


def configure(kind: str) -> None:
    """Let everything from INFO on go to stderr in a format of ``FORMATS``.

    Processes that this one starts find it in their environment.
    """
    os.environ[FORMAT_VARIABLE] = kind
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class TextLines(logging.Formatter):
    """Time, level, message, and the request's id where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without its traceback."""
        text = super().formatMessage(record)
        request = record.__dict__.get("request_id")
        return f"{text} [request {request}]" if request else text


class JsonLines(logging.Formatter):
    """One JSON object a record: ``time``, ``level``, ``logger``, ``message``, its ``FIELDS``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line, a traceback as text in it."""
        moment = datetime.fromtimestamp(record.created, UTC)
        tree = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        tree |= {key: record.__dict__[key] for key in FIELDS if key in record.__dict__}
        if record.exc_info:
            tree["exception"] = self.formatException(record.exc_info)
        return json.dumps(tree, default=str)
