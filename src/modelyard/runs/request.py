"""What a run is asked to be: the form in Prefect's UI, a REST call's body, an event's payload."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.errors import ParamsError

SNAPSHOT = "snapshot"

ParamsFile = Annotated[str, Field(pattern=r"^(\w[\w-]*/)*\w[\w.-]*\.ya?ml$")]
Override = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[\w-]+)*=")]
Overrides = tuple[Override, ...]
DataVersion = Annotated[str, Field(pattern=r"^[\w.-]+$")] | None
Revision = Annotated[str, Field(pattern=r"^[\w][\w./@~^-]*$")]


class Request(BaseModel):
    """A run's code, params and data, by name; `flows.deployed.run` has the same fields as its form.

    ``revision`` is ``snapshot``, the project as it is when the run begins, or what git names a
    commit by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params_file: ParamsFile = "params.yaml"
    overrides: Overrides = ()
    data_version: DataVersion = None
    revision: Revision = SNAPSHOT

    @classmethod
    def read(cls, parameters: dict[str, Any]) -> "Request":
        """From a flow run's parameters.

        Raises:
            ParamsError: a field is unknown or not as described; names it.
        """
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ParamsError(
                f"{field}: {first['msg']}, not {first['input']!r:.80}",
                f"The form has the fields {', '.join(cls.model_fields)}.",
            ) from None

    @property
    def commit(self) -> str | None:
        """What git is asked for; None is the working tree."""
        return None if self.revision == SNAPSHOT else self.revision


RUN_ID = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{4}$")
"""How the names of runs look (`runs.snapshot.new_run_id`)."""
