"""Requests to MLflow, and what their failures mean: away, not found, or refused with a message."""

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.settings import Settings

if TYPE_CHECKING:
    import httpx

_API = "/api/2.0/mlflow"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_REMEDY = "Start it with `modelyard up`, or correct MLFLOW_TRACKING_URI."


class Transport:
    """Requests to one MLflow server over kept-alive connections; safe to share between threads.

    The account is the address's, else that of ``Settings.mlflow_account_file`` (on this machine
    alone), else MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD, as in MLflow's own client.

    Args:
        base_url: The server's address, for instance ``http://127.0.0.1:5000``.
        timeout: Seconds to wait for an answer; connecting may take 2 s at most.

    Raises:
        ModelyardError: the address is not http(s), for instance a database's.
    """

    def __init__(self, base_url: str, timeout: float = 10.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelyardError(
                f"{without_credentials(base_url)!r} is not the address of an MLflow server",
                "Set MLFLOW_TRACKING_URI to its http(s) address, or unset it for a local one.",
            )
        self.base_url = base_url.rstrip("/")
        port = f":{parts.port}" if parts.port else ""
        self.address = f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
        """The address without credentials, for messages."""
        self._loopback = parts.hostname in _LOOPBACK
        self._has_account = parts.username is not None
        self._timeout = timeout
        self._client: httpx.Client | None = None

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self):  # noqa: ANN204 - Self of the class that inherits
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **params: Any
    ) -> dict[str, Any]:
        """Call a route below ``/api/2.0/mlflow``.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: The route, for instance ``/runs/get``.
            body: Sent as JSON; keys whose value is None are left out.
            params: The query, likewise.

        Returns:
            The answer's JSON object.

        Raises:
            ServiceUnavailable: the server is away or failed.
            ModelyardError: it refused; the message is its own.
        """
        answer = self.send(method, f"{_API}{path}", json=_given(body), params=_given(params))
        return self._parse(answer)

    def find(self, path: str, **params: Any) -> dict[str, Any] | None:
        """GET a route, or None where MLflow says that the resource does not exist.

        Raises:
            ServiceUnavailable, ModelyardError: as ``call``.
        """
        answer = self.send("GET", f"{_API}{path}", params=_given(params), refuse=False)
        if answer.status_code in (400, 404) and _error_code(answer) == "RESOURCE_DOES_NOT_EXIST":
            return None
        self._refuse(answer)
        return self._parse(answer)

    def send(
        self, method: str, path: str, *, refuse: bool = True, **options: Any
    ) -> "httpx.Response":
        """Send a request to any path of the server; see ``call`` for what it raises."""
        options = {name: value for name, value in options.items() if value is not None}
        answer = self._send(method, f"{self.base_url}{path}", options, again=method == "GET")
        if refuse:
            self._refuse(answer)
        return answer

    def unavailable(self, error: Exception) -> ServiceUnavailable:
        """The error for a server that did not answer."""
        detail = str(error) or type(error).__name__
        return ServiceUnavailable(f"MLflow does not answer at {self.address}: {detail}", _REMEDY)

    def _send(
        self, method: str, url: str, options: dict[str, Any], again: bool
    ) -> "httpx.Response":
        import httpx

        try:
            return self._open().request(method, url, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            # A server may close an idle connection at the moment of its reuse: read again, once.
            if again:
                return self._send(method, url, options, again=False)
            raise self.unavailable(error) from None
        except httpx.TransportError as error:
            raise self.unavailable(error) from None

    def _open(self) -> "httpx.Client":
        import httpx

        if self._client is None:
            # A proxy named in the environment must not be asked for a server on this machine.
            self._client = httpx.Client(
                timeout=httpx.Timeout(self._timeout, connect=2.0),
                trust_env=not self._loopback,
                auth=None if self._has_account else _account(self._loopback),
            )
        return self._client

    def _refuse(self, answer: "httpx.Response") -> None:
        if answer.status_code < 400:
            return
        message = _message(answer)
        if answer.status_code >= 500:
            raise ServiceUnavailable(
                f"MLflow at {self.address} failed ({answer.status_code}): {message}",
                "See its log in the state folder; then run the command again.",
            )
        if answer.status_code in (401, 403):
            raise ModelyardError(
                f"MLflow at {self.address} refused access: {message}",
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account that may.",
            )
        raise ModelyardError(f"MLflow at {self.address} refused: {message}")

    def _parse(self, answer: "httpx.Response") -> dict[str, Any]:
        try:
            tree = answer.json() if answer.content else {}
        except ValueError:
            tree = None
        if not isinstance(tree, dict):
            raise ServiceUnavailable(f"what answers at {self.address} is not MLflow", _REMEDY)
        return tree


def _account(on_this_machine: bool) -> Any:
    """For httpx: a file's account, which stays on this machine, else the environment's."""
    settings = Settings()
    file = settings.mlflow_account_file
    if on_this_machine and file is not None and file.name:
        return lambda request: _with_account(request, file)
    name, password = settings.mlflow_tracking_username, settings.mlflow_tracking_password
    return (name, password.get_secret_value()) if name and password else None


def _with_account(request: "httpx.Request", file: Path) -> "httpx.Request":
    # Read each time: a server that is starting may be about to make it.
    if file.is_file():
        account = b64encode(file.read_text(encoding="utf-8").strip().encode()).decode("ascii")
        request.headers["Authorization"] = f"Basic {account}"
    return request


def without_credentials(url: str) -> str:
    """An address without user and password, for records and messages; any text is taken."""
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        return url.rpartition("@")[2]
    place, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{place.rpartition('@')[2]}{slash}{path}"


def _given(values: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: value for key, value in values.items() if value is not None} if values else None


def _error_code(answer: "httpx.Response") -> str:
    try:
        return answer.json().get("error_code", "")
    except (ValueError, AttributeError):
        return ""


def _message(answer: "httpx.Response") -> str:
    try:
        return str(answer.json()["message"])
    except (json.JSONDecodeError, ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase
