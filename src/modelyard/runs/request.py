"""What a run is asked to be: the form in Prefect's UI, a REST call's body, an event's payload."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.errors import ParamsError
from modelyard.params.model import Count, Positive, PromoteMode, Seed, Workers

SNAPSHOT = "snapshot"

ParamsFile = Annotated[str, Field(pattern=r"^(\w[\w-]*/)*\w[\w.-]*\.ya?ml$")]
Override = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[\w-]+)*=")]
Overrides = tuple[Override, ...]
DataVersion = Annotated[str, Field(pattern=r"^[\w.-]+$")] | None
Revision = Annotated[str, Field(pattern=r"^[\w][\w./@~^-]*$")]


_KEYS = {
    "seed": "train.seed",
    "epochs": "train.epochs",
    "learning_rate": "train.optimizer.lr",
    "workers": "train.workers",
    "promote": "promote.mode",
}
"""The fields that have a key of params.yaml of their own."""


class Request(BaseModel):
    """A run's code, params and data, by name; `flows.deployed.run` has the same fields as its form.

    ``revision`` is ``snapshot``, the project as it is when the run begins, or what git names a
    commit by. ``seed``, ``epochs``, ``learning_rate``, ``workers`` and ``promote`` are keys of
    params.yaml with its bounds, None for what the params file says. ``overrides`` may name the same
    keys, and win over them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    params_file: ParamsFile = "params.yaml"
    seed: Seed | None = None
    epochs: Count | None = None
    learning_rate: Positive | None = None
    workers: Workers | None = None
    promote: PromoteMode | None = None
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
    def changes(self) -> list[str]:
        """Every change of the params file as KEY=VALUE, in the order in which they are applied."""
        given = {key: getattr(self, field) for field, key in _KEYS.items()}
        own = [f"{key}={_yaml(value)}" for key, value in given.items() if value is not None]
        return [*own, *self.overrides]

    @property
    def commit(self) -> str | None:
        """What git is asked for; None is the working tree."""
        return None if self.revision == SNAPSHOT else self.revision


def _yaml(value: Any) -> str:
    """A number or word as YAML 1.1 reads it back, which takes 1e-05 for text."""
    text = str(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


RUN_ID = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{4}$")
"""How the names of runs look (`runs.snapshot.new_run_id`)."""
