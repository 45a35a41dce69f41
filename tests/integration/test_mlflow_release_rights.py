"""Who may add versions and who may release: two people, MLflow's own pages, all servers real."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from modelyard import services
from modelyard.cli.registry import log_command
from modelyard.errors import ModelyardError
from modelyard.follower import audit
from modelyard.mlflow_api import AliasMove, MlflowApi, RegisteredVersion
from modelyard.registry import tags as names
from modelyard.services import mlflow_auth
from modelyard.settings import Settings
from tests.integration.registry_project import Project, make_project
from tests.integration.serving_processes import wait_until
from tests.integration.test_serving_page import CHROMIUM
from tests.integration.tiny_registrar import Registrar

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
MODEL, PRODUCTION = "digits", "digits-production"
TRAINER, MANAGER = "trainer", "release-manager"


def password(user: str) -> str:
    return f"password-of-{user}"


@dataclass
class Site:
    """MLflow with accounts, follower and model server, as `modelyard up` starts them."""

    mlflow: str
    serving: str
    settings: Settings

    def api(self, user: str) -> MlflowApi:
        account = f"{user}:{password(user)}"
        if user in (mlflow_auth.ADMIN, mlflow_auth.FOLLOWER):
            account = mlflow_auth.account_file(self.settings.key_folder, user).read_text()
        return MlflowApi(self.mlflow.replace("://", f"://{account}@"))

    def served(self, name: str) -> int | None:
        models = httpx.get(f"{self.serving}/health", trust_env=False).json().get("models", {})
        return models[name]["version"] if name in models else None

    def trail(self, name: str) -> list[tuple]:
        """Of a model: from, to, outcome, path, by."""
        report = audit.read(self.settings.state_dir)
        assert report.holds
        keys = ("from", "to", "outcome", "path", "by")
        entries = [entry for entry in report.entries if entry["name"] == name]
        return [tuple(entry[key] for key in keys) for entry in entries]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The people's rights are given by MLflow's own API, by its administrator."""
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("site"), mlflow_port=0, serving_port=0, mlflow_auth=True
    )
    try:
        started = services.up(settings, ROOT, names=["mlflow", "follower", "serving"])
        site = Site(started["mlflow"].url or "", started["serving"].url or "", settings)
        admin = site.api(mlflow_auth.ADMIN)
        for user, model, right in ((TRAINER, MODEL, "EDIT"), (MANAGER, PRODUCTION, "MANAGE")):
            admin.call("POST", "/users/create", {"username": user, "password": password(user)})
            admin.ensure_registered_model(model)
            what = {"resource_type": "registered_model", "resource_id": model, "permission": right}
            grant = "/api/3.0/mlflow/users/permissions/grant"
            admin.send("POST", grant, json=what | {"username": user})
        yield site
    finally:
        services.down(settings)


@pytest.fixture(scope="module")
def registrar(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    folder = tmp_path_factory.mktemp("packages")
    return Registrar(site.api(TRAINER), MODEL, folder, site.settings.trusted)


class People:
    """Each in a browser of their own, logged in."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser, self._site = browser, site
        self._pages: dict[str, Page] = {}

    def open(self, user: str, name: str, version: int) -> Page:
        """A version's page."""
        is_new = user not in self._pages
        page = self._log_in(user) if is_new else self._pages[user]
        page.goto(f"{self._site.mlflow}/#/models/{name}/versions/{version}")
        page.get_by_role("link", name=name, exact=True).first.wait_for()
        if is_new:
            expect(page.get_by_role("button", name=f"Account menu for {user}")).to_be_visible()
            page.get_by_role("button", name="Close").click()  # the assistant's panel
        page.get_by_role("button", name="Promote model").wait_for()
        return page

    def _log_in(self, user: str) -> Page:
        context = self._browser.new_context(
            http_credentials={"username": user, "password": password(user)},
            viewport={"width": 1000, "height": 560},
        )
        self._pages[user] = context.new_page()
        return self._pages[user]


@pytest.fixture(scope="module")
def people(site: Site) -> Iterator[People]:
    expect.set_options(timeout=20_000)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield People(chromium, site)
        chromium.close()
    expect.set_options(timeout=5_000)


def copy_to_production(page: Page) -> None:
    """Promote model -> digits-production -> Promote."""
    page.get_by_role("button", name="Promote model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").click()
    page.get_by_title(PRODUCTION).last.click()
    dialog.get_by_role("button", name="Promote", exact=True).click()


def set_champion(page: Page) -> None:
    """Aliases: Add -> champion -> Save aliases."""
    page.get_by_role("button", name="Add", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save").click()


def test_who_may_add_versions_may_not_release_them(
    site: Site,
    registrar: Registrar,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = registrar.add(1)
    page = people.open(TRAINER, MODEL, first)
    copy_to_production(page)
    expect(page.get_by_text("Permission denied")).to_be_visible()
    manager = site.api(MANAGER)
    assert manager.search_versions(PRODUCTION) == []
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()

    page = people.open(MANAGER, MODEL, first)
    copy_to_production(page)
    expect(page.get_by_text("Copied from")).to_be_visible()
    assert page.url.endswith(f"/models/{PRODUCTION}/versions/1")
    assert site.served(PRODUCTION) is None, "a copy is no release"
    trainer = people.open(TRAINER, PRODUCTION, 1)
    set_champion(trainer)
    expect(trainer.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    trainer.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert _aliases(manager, PRODUCTION) == {}
    set_champion(page)
    expect(page.get_by_text("@ champion")).to_be_visible()
    wait_until(lambda: site.served(PRODUCTION) == 1, seconds=10)
    wait_until(lambda: site.trail(PRODUCTION))
    assert site.trail(PRODUCTION) == [(None, 1, "live", "copy", MANAGER)]
    assert site.served(MODEL) is None, "the production model's own alias decides"

    monkeypatch.setenv("MODELYARD_STATE_DIR", str(site.settings.state_dir))
    log_command(PRODUCTION, verify=True, as_json=False)
    printed = capsys.readouterr().out
    assert f"copy  {MANAGER}" in printed
    assert "the chain holds" in printed


def test_the_alias_alone_is_the_other_way(site: Site, registrar: Registrar, people: People) -> None:
    version = registrar.add(2)
    page = people.open(TRAINER, MODEL, version)
    set_champion(page)
    expect(page.get_by_role("dialog")).to_be_hidden()
    wait_until(lambda: site.served(MODEL) == version, seconds=10)
    wait_until(lambda: site.trail(MODEL))
    assert site.trail(MODEL)[-1] == (None, version, "live", "alias", TRAINER)


def test_a_copy_serves_by_its_sources_verdict_else_by_its_own(
    site: Site, registrar: Registrar
) -> None:
    manager = site.api(MANAGER)
    own = Registrar(site.api(mlflow_auth.ADMIN), PRODUCTION, registrar.folder, registrar.trusted)

    def release(source: int) -> RegisteredVersion:
        """What the button does, and the alias."""
        found = registrar.api.get_version(MODEL, source)
        assert found is not None
        address, tags = f"models:/{MODEL}/{source}", found.tags
        made = manager.create_version(PRODUCTION, address, found.run_id, "", tags, "")
        manager.set_alias(PRODUCTION, names.CHAMPION, made.version)
        return made

    def refusal(version: int) -> str | None:
        return (manager.get_version(PRODUCTION, version) or made).tags.get(names.REFUSED)

    if not (live := own.aliases().get(names.LIVE)):
        live = release(registrar.add(10)).version
        wait_until(lambda: own.is_live(live))
    base = registrar.add(11)
    registrar.promote(base)
    wait_until(lambda: registrar.is_live(base))
    made = release(base)
    told = wait_until(lambda: refusal(made.version))
    assert f"is a copy of version {base} of {MODEL}, which was compared with" in told
    assert f"judge it: `modelyard gate {PRODUCTION} {made.version}`" in told
    assert site.trail(PRODUCTION)[-1] == (live, made.version, "refused", "copy", MANAGER)
    own.judge(made.version, made.tags[names.DIGEST], passed=True)
    manager.delete_version_tag(PRODUCTION, made.version, names.REFUSED)
    wait_until(lambda: own.is_live(made.version))

    better = release(registrar.add(12))
    wait_until(lambda: own.is_live(better.version))
    (entry,) = [entry for entry in _entries(site) if entry["to"] == better.version]
    assert entry["verdict"].endswith(
        f"(as {better.source.removeprefix('models:/').replace('/', ' ')})"
    )
    made = release(registrar.add(13, passed=None))
    told = wait_until(lambda: refusal(made.version))
    assert "has no signed verdict; nor does version" in told
    assert site.served(PRODUCTION) == better.version


def _entries(site: Site) -> list[dict[str, Any]]:
    entries = audit.read(site.settings.state_dir).entries
    return [entry for entry in entries if entry["name"] == PRODUCTION]


PLACES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")


def test_nobody_writes_another_name_into_the_record(site: Site, registrar: Registrar) -> None:
    version = registrar.add(21)
    account = (TRAINER, password(TRAINER))
    forged = {
        "X-Forwarded-User": MANAGER,
        "Remote-User": MANAGER,
        "X-MLflow-Authorization": "Basic cmVsZWFzZS1tYW5hZ2VyOng=",
    }
    client = httpx.Client(base_url=site.mlflow, auth=account, headers=forged, trust_env=False)

    def moves() -> list[AliasMove]:
        return registrar.api.alias_moves(MODEL, "forged")

    body = {"name": MODEL, "alias": "forged", "version": str(version), "by": MANAGER}
    for place in PLACES:
        client.post(f"{place}/registered-models/alias", json=body).raise_for_status()
    registrar.api.set_version_tag(MODEL, version, "modelyard.moved_by", MANAGER)
    told = [(move.by, move.action, move.version) for move in moves()]
    assert told == [(TRAINER, "set", version)] * 2

    route = "/api/2.0/modelyard/alias-moves"
    query = {"name": MODEL, "alias": "forged"}
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, route, params=query, json=body).status_code in (403, 405)
    assert httpx.get(f"{site.mlflow}{route}", params=query, trust_env=False).status_code == 401
    assert client.get(route).status_code == 400

    wrong = body | {"version": "999"}
    assert client.post(f"{PLACES[0]}/registered-models/alias", json=wrong).status_code == 404
    other = body | {"name": PRODUCTION}
    assert client.post(f"{PLACES[0]}/registered-models/alias", json=other).status_code == 403
    assert len(moves()) == 2, "what MLflow refused is no move"
    others = registrar.api.alias_moves(PRODUCTION, "forged")
    assert [move for move in others if move.alias == "forged"] == []


def test_who_sees_the_alias_finds_who_moved_it(site: Site, registrar: Registrar) -> None:
    """A follower that asks at the moment of the change is told of it."""
    version, mover, watcher = registrar.add(31), site.api(TRAINER), site.api(MANAGER)
    aliases = [f"watched-{turn}" for turn in range(10)]
    thread = threading.Thread(target=lambda: [mover.set_alias(MODEL, a, version) for a in aliases])
    thread.start()
    for alias in aliases:
        wait_until(lambda: alias in _aliases(watcher, MODEL))  # noqa: B023
        assert [move.by for move in watcher.alias_moves(MODEL, alias)] == [TRAINER]
    thread.join()


def _aliases(api: MlflowApi, name: str) -> dict[str, int]:
    model = api.get_registered_model(name)
    return model.aliases if model else {}


def test_a_trainers_run_is_recorded_registered_and_judged(site: Site, tmp_path: Path) -> None:
    """By the account's own rights: who makes an experiment or a model may change it."""
    project = Project(make_project(tmp_path / "a" / "project", wrong=3), "trained")
    with site.api(TRAINER) as api:
        version = project.register(api)
        assert project.gate(api, version).passed
        assert _aliases(api, "trained") == {names.CHALLENGER: 1}
    with site.api(MANAGER) as api, pytest.raises(ModelyardError, match="Permission denied"):
        api.set_alias("trained", names.CHAMPION, 1)


def test_the_followers_account_may_be_woken_and_no_other(site: Site) -> None:
    assert wait_until(site.api(mlflow_auth.FOLLOWER).list_webhooks)
    for user in (TRAINER, MANAGER):
        with pytest.raises(ModelyardError, match="Permission denied"):
            site.api(user).list_webhooks()


def test_secrets_lie_in_files_of_their_owner_alone(site: Site) -> None:
    folder = site.settings.key_folder
    for name in ("mlflow-admin", "mlflow-follower", "mlflow-secret"):
        file = folder / name
        assert file.stat().st_mode & 0o077 == 0
        secret = file.read_text().rpartition(":")[2]
        for log in (site.settings.state_dir / "logs").glob("*.log"):
            assert secret not in log.read_text()
        assert secret not in site.settings.services_file.read_text()
    with pytest.raises(ModelyardError, match=r"refused access.*not authenticated"):
        MlflowApi(site.mlflow).search_registered_models()
    account = (TRAINER, password(TRAINER))
    assert httpx.get(f"{site.mlflow}/signup", auth=account, trust_env=False).status_code == 403
