"""`modelyard gate`, `promote` and `verify` of a copied version, on a real MLflow server."""

from pathlib import Path

import pytest

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import GateRefused
from modelyard.mlflow_api import MlflowApi
from modelyard.registry import tags as names
from modelyard.registry.promote import promote
from modelyard.registry.verify import verify
from tests.integration.registry_project import Project
from tests.integration.registry_server import aliases, api, follow, layout  # noqa: F401

pytestmark = pytest.mark.server

SOURCE, PRODUCTION = "copied", "copied-production"


@pytest.fixture(scope="module")
def url(servers: dict[str, str]) -> str:
    return servers["MLFLOW_TRACKING_URI"]


def copy(api: MlflowApi, version: ModelVersion) -> ModelVersion:
    """What MLflow's button does."""
    found = api.get_version(SOURCE, version.version)
    assert found is not None
    source = f"models:/{SOURCE}/{version.version}"
    model = found.model_id
    made = api.create_version(PRODUCTION, source, found.run_id, model, found.tags, "")
    return ModelVersion(PRODUCTION, made.version, version.digest, made.run_id)


def verdict_link(api: MlflowApi, version: ModelVersion, trusted: Path) -> tuple[bool, str]:
    checks = verify(api, PRODUCTION, str(version.version), Path(), trusted)
    return next((check.ok, check.detail) for check in checks if check.name == "verdict")


def test_a_copy_is_gated_and_promoted_under_its_own_name(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, SOURCE, budgets={"min_score": 0.9})
    trusted = project.trusted
    api.ensure_registered_model(PRODUCTION)
    first = project.register(api)
    assert project.gate(api, first).passed
    copied = copy(api, first)
    promote(api, PRODUCTION, copied.version, trusted)
    follow(api, PRODUCTION, copied.version)
    assert verdict_link(api, copied, trusted) == (
        True,
        f"within the budgets (as version 1 of {SOURCE})",
    )
    kept = project.gate(api, copied)
    assert (kept.name, kept.version) == (SOURCE, 1), "it keeps the verdict that it came with"

    project.another_package(20.0)
    second = project.register(api, "key-2")
    assert project.gate(api, second).champion_digest is None
    copied = copy(api, second)
    for tag in (names.WAS_LIVE, names.REFUSED):
        api.set_version_tag(PRODUCTION, copied.version, tag, "from its source")
    with pytest.raises(GateRefused, match=f"judge it: `modelyard gate {PRODUCTION} 2`"):
        promote(api, PRODUCTION, copied.version, trusted)
    own = project.gate(api, copied)
    assert (own.name, own.version, own.champion_digest) == (PRODUCTION, 2, first.digest)
    assert own.passed
    assert aliases(api, PRODUCTION)[names.CHALLENGER] == 2
    promote(api, PRODUCTION, copied.version, trusted)
    assert aliases(api, PRODUCTION)[names.CHAMPION] == 2
    assert aliases(api, SOURCE) == {names.CHALLENGER: 2}, "the source's aliases are its own"
    ok, detail = verdict_link(api, copied, trusted)
    assert ok
    assert "as version" not in detail
    follow(api, PRODUCTION, 2)
    api.set_alias(PRODUCTION, names.PREVIOUS, 1)
    promote(api, PRODUCTION, 1, trusted)
    assert aliases(api, PRODUCTION)[names.CHAMPION] == 1, "what was live before returns"
