"""Keeps the follower's webhook registered with MLflow, and itself awake by it.

A thread of its own asks MLflow, so that the follower never waits for that. Without webhooks (MLflow
elsewhere, without a key for secrets, or with rights that we lack) polling alone goes on, oftener.
"""

import hashlib
import logging
import queue
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.artifacts import write_atomic
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.follower.webhook import Receiver
from modelyard.mlflow_api import MlflowApi, Webhook

_logger = logging.getLogger(__name__)

EVENTS = frozenset({"model_version_alias.created", "model_version_alias.deleted"})
CHECK_S = 30.0
_RETRY_S = 300.0
_AWAY_S = 2.0
_GOODBYE_S = 2.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MEANING = "promotions are noticed by polling alone"


class Waker:
    """Lets signal handlers and other threads end a wait; several calls count as one."""

    def __init__(self) -> None:
        # An Event may not be set in a signal handler: the main thread may hold its lock.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.stopped = False

    def wake(self) -> None:
        """End the wait that is on, or the next."""
        self._calls.put(None)

    def stop(self) -> None:
        """End it for good."""
        self.stopped = True
        self.wake()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until called; returns whether to stop."""
        with suppress(queue.Empty):
            self._calls.get(timeout=seconds)
        with suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        return self.stopped


class Hook:
    """One webhook of MLflow's for this follower, named by host and serving folder.

    Args:
        mlflow: MLflow's address.
        receiver: Where the webhook is to post to.
        name: Of the webhook.
        secret: What MLflow is to sign with.
    """

    def __init__(self, mlflow: str, receiver: Receiver, name: str, secret: str) -> None:
        self._api = MlflowApi(mlflow)
        self._receiver = receiver
        self._name = name
        self._secret = secret
        self._known: str | None = None
        self._num_forged = 0
        self._trouble = ""
        self._stop = threading.Event()
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="webhook")
        self.reaches = False
        """Whether MLflow's messages have been seen to come through."""

    def start(self) -> None:
        """Register in the background, and look now and then whether it still is."""
        self._thread.start()

    def look(self) -> None:
        """Look now: MLflow has been away and may have forgotten."""
        self._look.set()

    def close(self) -> None:
        """Take the webhook away as far as MLflow is there, so that it need not call in vain."""
        self._stop.set()
        self._look.set()
        self._thread.join(_GOODBYE_S)
        self._receiver.close()

    def check(self) -> float:
        """Register unless all is right; returns the seconds until it is worth looking again."""
        try:
            problem = self._ensure()
        except ServiceUnavailable as error:
            if not self._api.health():
                # The follower itself reports that.
                self.reaches = False
                return _AWAY_S
            problem = error.message
        except ModelyardError as error:
            problem = error.message
        except (LookupError, TypeError, ValueError) as error:
            problem = f"its answer cannot be understood: {error!r}"
        if problem and problem != self._trouble:
            _logger.warning("MLflow's webhook cannot be used: %s; %s", problem, _MEANING)
        if not problem and not self.reaches:
            _logger.info("MLflow's webhook wakes this follower")
        self._trouble, self.reaches = problem, not problem
        return _RETRY_S if problem else CHECK_S

    def _run(self) -> None:
        self._stop.wait(self._receiver.seconds_deaf())
        while not self._stop.is_set():
            self._look.wait(self.check())
            self._look.clear()
        self._say_goodbye()
        self._api.close()

    def _ensure(self) -> str:
        """Let MLflow have one webhook of this name, as it should be; returns what is wrong."""
        ours = [hook for hook in self._api.list_webhooks() if hook.name == self._name]
        for spare in ours[1:]:
            self._api.delete_webhook(spare.webhook_id)
        # What is signed otherwise may come from an MLflow that has another secret.
        before, self._num_forged = self._num_forged, self._receiver.num_forged
        is_trusted = self.reaches and self._num_forged == before
        if ours and is_trusted and self._is_right(ours[0]):
            return ""
        url = self._receiver.url
        if ours:
            hook = self._api.update_webhook(ours[0].webhook_id, url, EVENTS, self._secret)
        else:
            hook = self._api.create_webhook(
                self._name, url, EVENTS, self._secret, "Wakes a follower of Modelyard."
            )
        self._known = hook.webhook_id
        try:
            problem = self._api.try_webhook(hook.webhook_id, min(EVENTS))
        except ModelyardError as error:
            if isinstance(error, ServiceUnavailable):
                raise
            problem = error.message
        if problem:
            self._api.delete_webhook(hook.webhook_id)
            self._known = None
        return problem

    def _is_right(self, hook: Webhook) -> bool:
        found = (hook.webhook_id, hook.url, hook.events, hook.active)
        return found == (self._known, self._receiver.url, EVENTS, True)

    def _say_goodbye(self) -> None:
        if self._known is not None:
            with suppress(ModelyardError):
                self._api.delete_webhook(self._known)


def can_be_called(mlflow: str) -> bool:
    """Whether MLflow is on this machine, so that it can reach a receiver on loopback."""
    return urlsplit(mlflow).hostname in _LOOPBACK


def hook_name(folder: Path) -> str:
    """The webhook's name: the same at each start, another for each follower."""
    place = f"{socket.gethostname()}:{folder.resolve()}"
    return f"modelyard-follower-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def ensure_secret(path: Path) -> str:
    """The secret in a file of mode 0600, made if there is none.

    Raises:
        OSError: it cannot be written.
    """
    with suppress(FileNotFoundError):
        path.chmod(0o600)
        if secret := path.read_text(encoding="ascii").strip():
            return secret
    secret = secrets.token_urlsafe(32)
    write_atomic(path, secret.encode(), mode=0o600)
    return secret
