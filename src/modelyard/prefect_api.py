"""A thin REST client of Prefect; nothing here imports prefect, which takes two seconds."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import sleep
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.mlflow_api import without_credentials
from modelyard.settings import Settings

if TYPE_CHECKING:
    import httpx

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_REMEDY = "Start it with `modelyard up`, or correct PREFECT_API_URL."
_PAUSES = (0.2, 0.5, 1.0)  # s
_PAGE = 200
"""Prefect's own limit of a page."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run: ``state_type`` is Prefect's, COMPLETED for instance; times are UTC."""

    id: str
    name: str
    flow_id: str
    deployment_id: str | None
    state_id: str
    state_type: str
    state_name: str
    message: str
    parameters: dict[str, Any]
    run_count: int
    created_by: str
    auto_scheduled: bool
    tags: tuple[str, ...]
    started: datetime | None
    ended: datetime | None

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> Self:
        """From the API's flow run."""
        state = tree.get("state") or {}
        return cls(
            id=tree["id"],
            name=tree["name"],
            flow_id=tree["flow_id"],
            deployment_id=tree.get("deployment_id"),
            state_id=state.get("id") or "",
            state_type=tree.get("state_type") or "",
            state_name=tree.get("state_name") or "",
            message=state.get("message") or "",
            parameters=tree.get("parameters") or {},
            run_count=tree.get("run_count") or 0,
            created_by=(tree.get("created_by") or {}).get("type") or "",
            auto_scheduled=bool(tree.get("auto_scheduled")),
            tags=tuple(tree.get("tags") or ()),
            started=_time(tree.get("start_time")),
            ended=_time(tree.get("end_time")),
        )


class PrefectApi:
    """One Prefect server; use it as a context manager, or call ``close``.

    Args:
        url: Its API's address, for instance ``http://127.0.0.1:4200/api``.
        authorization: The header's value, where the server asks for one.
        timeout: Seconds to wait for an answer; connecting may take 2 s at most.
    """

    def __init__(self, url: str, authorization: str | None = None, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.address = without_credentials(self.url)
        self._headers = {"Authorization": authorization} if authorization else {}
        self._timeout = timeout
        self._client: httpx.Client | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The server that the environment or the local services name.

        Raises:
            ServiceUnavailable: neither names one.
        """
        url = settings.address("prefect")
        if not url:
            raise ServiceUnavailable(
                "no Prefect server is known: PREFECT_API_URL is not set and no local one is up",
                "`modelyard up` starts one.",
            )
        return cls(url, _authorization(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call a route below ``/api``; the answer's JSON, None where it has none.

        Raises:
            ServiceUnavailable: the server is away or failed.
            ModelyardError: it refused; the message is its own.
        """
        answer = self._send(method, path, body)
        for pause in _PAUSES:
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            # Its database was locked by another request, and nothing was done.
            sleep(pause)
            answer = self._send(method, path, body)
        if answer.status_code >= 500:
            raise ServiceUnavailable(
                f"Prefect at {self.address} failed ({answer.status_code}): {_message(answer)}",
                "See its log in the state folder; then run the command again.",
            )
        if answer.status_code >= 400:
            raise ModelyardError(f"Prefect at {self.address} refused: {_message(answer)}")
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise ServiceUnavailable(
                f"what answers at {self.address} is not Prefect", _REMEDY
            ) from None

    def find(self, kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """All that match a filter, page by page; ``kind`` is deployments, automations, ..."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("POST", f"/{kind}/filter", {"limit": _PAGE, **body} | _from(found))
            found += page
            if len(page) < _PAGE:
                return found

    def flow_runs(self, filters: dict[str, Any], limit: int, **more: Any) -> list[FlowRun]:
        """The latest flow runs that match; ``filters`` are those of the API's ``flow_runs``."""
        body = {"flow_runs": filters, "sort": "START_TIME_DESC", "limit": limit, **more}
        return [FlowRun.parse(tree) for tree in self.call("POST", "/flow_runs/filter", body)]

    def flow_run(self, flow_run_id: str) -> FlowRun:
        """One flow run."""
        return FlowRun.parse(self.call("GET", f"/flow_runs/{flow_run_id}"))

    def unfinished_steps(self, flow_run_ids: list[str]) -> dict[str, str]:
        """By flow run, the latest step that is under way or ended badly."""
        if not flow_run_ids:
            return {}
        states = {"type": {"any_": ["RUNNING", "FAILED", "CRASHED"]}}
        filters = {"flow_run_id": {"any_": flow_run_ids}, "state": states}
        tasks = self.call("POST", "/task_runs/filter", {"task_runs": filters})
        tasks.sort(key=lambda tree: tree.get("start_time") or "")
        return {tree["flow_run_id"]: tree["name"].rpartition("-")[0] for tree in tasks}

    def bury_steps(self, flow_run_id: str) -> None:
        """Set the steps that a killed process left Running to Crashed."""
        filters = {"flow_run_id": {"any_": [flow_run_id]}, "state": {"type": {"any_": ["RUNNING"]}}}
        state = {"type": "CRASHED", "name": "Crashed", "message": "Its process was killed."}
        for tree in self.call("POST", "/task_runs/filter", {"task_runs": filters}):
            body = {"state": state, "force": True}
            self.call("POST", f"/task_runs/{tree['id']}/set_state", body)

    def set_state(self, flow_run_id: str, kind: str, name: str, message: str) -> None:
        """Move a flow run to a state, whatever it is in."""
        state = {"type": kind, "name": name, "message": message}
        self.call("POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

    def retry(self, flow_run_id: str) -> None:
        """Have a worker run a flow run again, as the UI's button does."""
        now = {"scheduled_time": datetime.now(UTC).isoformat()}
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "state_details": now}
        self.call("POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

    def page(self, flow_run_id: str) -> str:
        """The address of a flow run's page in the UI."""
        return f"{self.address.removesuffix('/api')}/runs/flow-run/{flow_run_id}"

    def _send(self, method: str, path: str, body: Any) -> "httpx.Response":
        import httpx

        try:
            return self._open().request(method, f"{self.url}{path}", json=body)
        except httpx.TransportError as error:
            detail = str(error) or type(error).__name__
            raise ServiceUnavailable(
                f"Prefect does not answer at {self.address}: {detail}", _REMEDY
            ) from None

    def _open(self) -> "httpx.Client":
        import httpx

        if self._client is None:
            # A proxy named in the environment must not be asked for a server on this machine.
            trust = urlsplit(self.url).hostname not in _LOOPBACK
            timeout = httpx.Timeout(self._timeout, connect=2.0)
            self._client = httpx.Client(timeout=timeout, trust_env=trust, headers=self._headers)
        return self._client


def _authorization(settings: Settings) -> str | None:
    if settings.prefect_api_key:
        return f"Bearer {settings.prefect_api_key.get_secret_value()}"
    if settings.prefect_api_auth_string:
        given = settings.prefect_api_auth_string.get_secret_value()
        return f"Basic {b64encode(given.encode()).decode()}"
    return None


def _from(found: list[dict[str, Any]]) -> dict[str, int]:
    return {"offset": len(found)} if found else {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _message(answer: "httpx.Response") -> str:
    """What the answer says; of a form that is refused, each field and its reason."""
    try:
        detail = answer.json()
    except ValueError:
        return answer.text[:200] or answer.reason_phrase
    if isinstance(detail, dict):
        detail = detail.get("detail") or detail.get("exception_detail") or detail
    if isinstance(detail, list):
        return "; ".join(_field(item) for item in detail)
    return str(detail)[:1000]


def _field(item: Any) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return str(item)
    return f"{'.'.join(map(str, item.get('loc', [])))}: {item['msg']}"
