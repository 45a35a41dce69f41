"""Errors that a person is meant to read: what went wrong, where, and the remedy.

Each carries a ``remedy``; the command line prints both in one message and keeps the traceback for
``--debug``. An assertion or any other exception is a defect of Modelyard, not of its use.
"""


class ModelyardError(Exception):
    """Something the user, the data or a service must change.

    Args:
        message: What is wrong, with the offending value and its place.
        remedy: What to do about it, as an instruction; may be empty where the message says it all.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.message, self.remedy)


class ParamsError(ModelyardError, ValueError):
    """A key or value of params.yaml (or of ``--set``) is not possible."""


class SourceError(ModelyardError):
    """The raw data cannot be had.

    They are missing, empty, unreadable, or not the file that the checksum names.
    """


class DataRejected(ModelyardError):  # noqa: N818 - the name says what happened
    """The data break the contract by more than it allows; no dataset version was made."""


class TrainingFailed(ModelyardError):  # noqa: N818 - the name says what happened
    """A training worker failed; the message names the rank and carries its traceback."""


class PackageError(ModelyardError):
    """A package is incomplete, altered, or signed by nobody that is trusted."""


class GateRefused(ModelyardError):  # noqa: N818 - the name says what happened
    """A version may not be promoted; the message is the verdict."""


class ServiceUnavailable(ModelyardError):  # noqa: N818 - the name says what happened
    """A server that is needed does not answer; the message names its address."""


class WorkspaceError(ModelyardError):
    """The project's folder is not in a state to run.

    No git repository, no space, a lock held, a file missing.
    """
