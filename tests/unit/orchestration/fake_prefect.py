"""A Prefect server that only remembers: what is asked for, and what it is told."""

from typing import Any

from modelyard.prefect_api import FlowRun, PrefectApi


class FakePrefect(PrefectApi):
    """Answers from ``tables`` (kind -> trees); ``calls`` has what was sent."""

    def __init__(self, **tables: list[dict[str, Any]]) -> None:
        super().__init__("http://127.0.0.1:1/api")
        self.tables = tables
        self.calls: list[tuple[str, str, Any]] = []

    def find(self, kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        return self.tables.get(kind, [])

    def flow_runs(self, filters: dict[str, Any], limit: int, **more: Any) -> list[FlowRun]:
        first = more.get("offset", 0)
        found = self.tables.get("flow_runs", [])[first : first + limit]
        return [FlowRun.parse(tree) for tree in found]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.calls.append((method, path, body))
        if path == "/task_runs/filter":
            return list(self.tables.get("task_runs", []))
        return {"name": "pipeline-nightly"}

    def sent(self, path: str) -> list[Any]:
        """The bodies that were posted to ``path``."""
        return [body for method, place, body in self.calls if (method, place) == ("POST", path)]
