"""The environment, typed: where state lies and where the servers answer.

It is read when asked for, never on import. A run in a worktree is pointed to the main clone's
state by ``MODELYARD_STATE_DIR``.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from modelyard.errors import WorkspaceError

STATE_DIR = ".modelyard"


class Settings(BaseSettings):
    """Every environment variable that Modelyard reads."""

    model_config = SettingsConfigDict(
        env_prefix="MODELYARD_", frozen=True, extra="ignore", populate_by_name=True
    )

    state_dir: Path = Path(STATE_DIR)
    """Services' state, keys, logs, checkpoints, measurements."""
    trusted_keys: Path | None = None
    """Folder of PEM public keys whose signatures are accepted.

    By default ``state_dir/keys/trusted``.
    """
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    mlflow_tracking_username: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_USERNAME"
    )
    """The account at an MLflow server that asks for one; it is the name in the audit trail."""
    mlflow_tracking_password: SecretStr | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_PASSWORD"
    )
    mlflow_account_file: Path | None = None
    """A file of mode 0600 with ``NAME:PASSWORD``, used at an MLflow server on this machine.

    It comes before MLFLOW_TRACKING_USERNAME; `modelyard up` gives the follower its own.
    """
    mlflow_auth: bool | None = None
    """Whether the local MLflow server asks for accounts; by default it does once it did."""
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    prefect_api_auth_string: SecretStr | None = Field(
        default=None, validation_alias="PREFECT_API_AUTH_STRING"
    )
    prefect_api_key: SecretStr | None = Field(default=None, validation_alias="PREFECT_API_KEY")
    serving_url: str | None = None
    notify_file: Path | None = None
    """Where messages about failed runs go, mode 0600; by default ``state_dir/notify``."""
    sql_password_file: Path | None = None
    """A file of mode 0600 with the password for an SQL ``data.source``."""
    api_key_file: Path | None = None
    """A file of mode 0600 with the key that is shown to the model server.

    By default ``state_dir/keys/own-api-key``, which the first `modelyard key add` makes.
    """
    log_format: Literal["text", "json"] = "text"
    """How follower and model server write their logs; ``json`` is one object a line."""
    run_id: str | None = None
    """Set for the process of an isolated run."""
    prefect_port: int = 4200
    mlflow_port: int = 5000
    serving_port: int = 8080
    serving_workers: int = Field(default=1, ge=1, le=64)
    """Processes of the local model server, all on its port."""

    @property
    def key_folder(self) -> Path:
        """Folder of the signing key (mode 0700)."""
        return self.state_dir / "keys"

    @property
    def trusted(self) -> Path:
        """Folder of the public keys that are trusted."""
        return self.trusted_keys or self.key_folder / "trusted"

    @property
    def measurements(self) -> Path:
        """Latencies by file digest and machine."""
        return self.state_dir / "measurements"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints by stage key."""
        return self.state_dir / "checkpoints"

    @property
    def serving(self) -> Path:
        """The folder between follower and server: packages, ``live`` pointers, acknowledgements."""
        return self.state_dir / "serving"

    @property
    def notify(self) -> Path:
        """The file of the addresses that are told of failed runs."""
        return self.notify_file or self.state_dir / "notify"

    @property
    def own_api_key(self) -> Path:
        """The file of the key that the command line shows to the model server."""
        return self.api_key_file or self.key_folder / "own-api-key"

    @property
    def services_file(self) -> Path:
        """What ``modelyard up`` started: name -> pid, address."""
        return self.state_dir / "services.json"

    def address(self, service: str) -> str | None:
        """The address of ``prefect`` (with /api), ``mlflow`` or ``serving``.

        It is the environment's, else the local service's.

        Raises:
            WorkspaceError: the record of the local services is not one.
        """
        given = {
            "prefect": self.prefect_api_url,
            "mlflow": self.mlflow_tracking_uri,
            "serving": self.serving_url,
        }
        if url := given[service]:
            return url.rstrip("/")
        url = self._local(service)
        return f"{url}/api" if url and service == "prefect" else url

    def _local(self, service: str) -> str | None:
        """The recorded address of a local service; ``services.records`` reads the whole record."""
        path = self.services_file
        try:
            services = json.loads(path.read_text(encoding="utf-8"))
            url = services.get(service, {}).get("url")
            if not isinstance(url, str | None):
                raise TypeError(f"the url of {service} is a {type(url).__name__}")
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise WorkspaceError(
                f"{path} is not a record of services ({error}).",
                "Stop what still runs (ps aux | grep modelyard), then remove that file.",
            ) from None
        return url
