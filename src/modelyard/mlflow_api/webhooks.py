"""MLflow's webhooks: what it posts to whom when something happens in the registry.

Under basic-auth only an administrator may see or change them.
"""

from dataclasses import dataclass
from typing import Any

from modelyard.mlflow_api.transport import Transport

_ROUTE = "/webhooks"


@dataclass(frozen=True)
class Webhook:
    """A registered webhook; ``events`` as ``entity.action``, for instance ``prompt.created``.

    MLflow never shows the secret again.
    """

    webhook_id: str
    name: str
    url: str
    events: frozenset[str]
    active: bool

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Webhook":
        """From the API's ``webhook``."""
        events = {f"{item['entity']}.{item['action']}".lower() for item in tree.get("events", [])}
        active = tree.get("status", "ACTIVE") == "ACTIVE"
        return cls(tree["webhook_id"], tree["name"], tree["url"], frozenset(events), active)


class WebhooksApi(Transport):
    """The part of the client that speaks of webhooks."""

    def list_webhooks(self) -> list[Webhook]:
        """Every webhook, the newest first."""
        found: list[Webhook] = []
        token = None
        while True:
            tree = self.call("GET", _ROUTE, max_results=1000, page_token=token)
            found += [Webhook.parse(item) for item in tree.get("webhooks", [])]
            token = tree.get("next_page_token")
            if not token:
                return found

    def create_webhook(
        self, name: str, url: str, events: frozenset[str], secret: str, description: str
    ) -> Webhook:
        """Ask for a post to ``url``, signed with ``secret``, at each of ``events``."""
        body = _wish(url, events, secret) | {"name": name, "description": description}
        return Webhook.parse(self.call("POST", _ROUTE, body)["webhook"])

    def update_webhook(
        self, webhook_id: str, url: str, events: frozenset[str], secret: str
    ) -> Webhook:
        """Give a webhook another address, events and secret, and switch it on."""
        body = _wish(url, events, secret)
        return Webhook.parse(self.call("PATCH", f"{_ROUTE}/{webhook_id}", body)["webhook"])

    def delete_webhook(self, webhook_id: str) -> None:
        """Take a webhook away."""
        self.call("DELETE", f"{_ROUTE}/{webhook_id}")

    def try_webhook(self, webhook_id: str, event: str) -> str:
        """Let MLflow post an example of ``event`` to a webhook's address, signed as the real ones.

        Returns:
            What went wrong; empty where the receiver took it.
        """
        body = {"event": _event(event)}
        result = self.call("POST", f"{_ROUTE}/{webhook_id}/test", body)["result"]
        if result.get("success"):
            return ""
        status = result.get("response_status")
        return result.get("error_message") or f"the receiver answered {status}"


def _wish(url: str, events: frozenset[str], secret: str) -> dict[str, Any]:
    listed = [_event(event) for event in sorted(events)]
    return {"url": url, "events": listed, "secret": secret, "status": "ACTIVE"}


def _event(name: str) -> dict[str, str]:
    entity, _, action = name.upper().partition(".")
    return {"entity": entity, "action": action}
