"""Explanations: they sum to what the answer is above the baseline's, field by field."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.compression import onnx_file
from modelyard.errors import PackageError
from modelyard.explaining.explainer import Explainer
from modelyard.explaining.gradients import NotFinite
from modelyard.models import archive
from tests.unit.explaining.explained_packages import (
    SIZE,
    TABLE_ROWS,
    TYPES,
    raw_columns,
    write_image,
    write_table,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Explainer]:
    folder = tmp_path_factory.mktemp("packages") / "table"
    return folder, Explainer.load(folder, write_table(folder))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Explainer]:
    folder = tmp_path_factory.mktemp("packages") / "image"
    return folder, Explainer.load(folder, write_image(folder, 3))


def job(columns: dict[str, list[Any]], target: int = 0, **more: Any) -> dict[str, Any]:
    targets = [target] * len(next(iter(columns.values())))
    return {"columns": columns, "targets": targets, "steps": 50, "baseline": "typical", **more}


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """As the server sends them: null is a missing number, "" a missing text."""
    return {
        name: [row[name] if kind == "number" else row[name] or "" for row in rows]
        for name, kind in TYPES.items()
    }


def total(found: dict[str, Any]) -> float:
    return sum(share["attribution"] for share in found["attributions"])


numbers = st.none() | st.floats(-200, 200)
texts = st.sampled_from(["", "good", "bad", "Rome", "Oslo", "Turku", "else"])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.tuples(numbers, numbers, texts, texts), st.integers(0, 2), st.booleans())
def test_a_rows_shares_sum_to_its_distance_from_the_baseline(
    table: tuple[Path, Explainer], values: tuple[Any, ...], target: int, named: bool
) -> None:
    row = dict(zip(TYPES, values, strict=True))
    baseline = "typical" if named else as_columns([TABLE_ROWS[1]])
    found = table[1].explain(job(as_columns([row]), target, baseline=baseline, steps=200), 0)
    distance = found["score"] - found["baseline_score"]
    assert total(found) == pytest.approx(distance + found["delta"], abs=1e-5)
    assert abs(found["delta"]) < 0.02
    assert {share["input"] for share in found["attributions"]} == set(TYPES)
    sizes = [abs(share["attribution"]) for share in found["attributions"]]
    assert sizes == sorted(sizes, reverse=True)


def test_scores_are_those_of_the_reference(table: tuple[Path, Explainer]) -> None:
    folder, explainer = table
    columns = raw_columns(explainer.preprocessing, TABLE_ROWS)
    answers = onnx_file.answer(folder / "reference.onnx", columns)
    given_job = job(as_columns(TABLE_ROWS), 2)
    for number, expected in enumerate(answers[:, 2]):
        assert explainer.explain(given_job, number)["score"] == pytest.approx(expected, abs=1e-5)


def test_a_row_against_itself_has_no_share(table: tuple[Path, Explainer]) -> None:
    one = as_columns(TABLE_ROWS[:1])
    found = table[1].explain(job(one, baseline=one), 0)
    assert found["score"] == found["baseline_score"]
    assert all(share["attribution"] == 0 for share in found["attributions"])


def test_only_the_field_that_differs_from_the_baseline_has_a_share(
    table: tuple[Path, Explainer],
) -> None:
    for name, other in (("age", 20.0), ("status", "bad"), ("city", "Turku")):
        changed = [{**TABLE_ROWS[0], name: other}]
        found = table[1].explain(
            job(as_columns(changed), baseline=as_columns(TABLE_ROWS[:1]), steps=200), 0
        )
        shares = {share["input"]: share["attribution"] for share in found["attributions"]}
        distance = found["score"] - found["baseline_score"]
        assert abs(distance) > 1e-3, name
        assert shares.pop(name) == pytest.approx(distance, abs=2e-3), name
        assert all(share == 0 for share in shares.values()), name


def test_a_number_is_explained_in_its_own_unit(tmp_path: Path) -> None:
    digest = write_table(tmp_path / "price", "regression")
    explainer = Explainer.load(tmp_path / "price", digest)
    found = explainer.explain(job(as_columns(TABLE_ROWS[:1]), steps=200), 0)
    columns = raw_columns(explainer.preprocessing, TABLE_ROWS[:1])
    answer = onnx_file.answer(tmp_path / "price/reference.onnx", columns)[0, 0]
    assert found["score"] == pytest.approx(answer, rel=1e-4)
    assert total(found) == pytest.approx(found["score"] - found["baseline_score"], abs=0.1)


@pytest.mark.parametrize("baseline", ["black", "mean", "white"])
def test_an_images_map_sums_to_its_share(image: tuple[Path, Explainer], baseline: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    given_job = job({"image": pixels.tolist()}, 1, baseline=baseline, steps=200)
    found = image[1].explain(given_job, 0)
    (share,) = found["attributions"]
    assert np.shape(share["map"]) == (SIZE, SIZE)
    assert np.sum(share["map"]) == pytest.approx(share["attribution"], abs=1e-6)
    distance = found["score"] - found["baseline_score"]
    assert share["attribution"] == pytest.approx(distance, abs=0.02)
    same = {"black": 0, "white": 255}.get(baseline)
    if same is not None:
        plain = np.full((1, SIZE, SIZE, 3), same).tolist()
        found = image[1].explain(job({"image": plain}, 1, baseline=baseline), 0)
        assert found["score"] == found["baseline_score"]
        assert not np.any(found["attributions"][0]["map"])


def test_a_pixel_that_the_network_does_not_see_has_no_share(tmp_path: Path) -> None:
    folder = tmp_path / "image"
    explainer = Explainer.load(folder, write_image(folder))
    black = np.zeros((1, SIZE, SIZE), int)
    lit = black.copy()
    lit[0, 2, 3] = 255
    found = explainer.explain(job({"image": lit.tolist()}, 2, baseline="black"), 0)
    map_hw = np.array(found["attributions"][0]["map"])
    assert map_hw[2, 3] != 0
    map_hw[2, 3] = 0
    assert not map_hw.any()


def test_what_has_no_gradient_is_said(table: tuple[Path, Explainer]) -> None:
    weights = next(table[1].network._network.parameters())
    before = weights.detach().clone()
    try:
        with torch.no_grad():
            weights.fill_(float("nan"))
        with pytest.raises(NotFinite):
            table[1].explain(job(as_columns(TABLE_ROWS[:1])), 0)
    finally:
        with torch.no_grad():
            weights.copy_(before)


def test_another_package_or_none_is_refused(tmp_path: Path) -> None:
    digest = write_image(tmp_path / "image")
    with pytest.raises(PackageError, match="has digest"):
        Explainer.load(tmp_path / "image", "0" * 64)
    (tmp_path / "image" / archive.ARCHIVE).write_bytes(b"altered")
    with pytest.raises(PackageError, match=r"network\.pt2"):
        Explainer.load(tmp_path / "image", digest)
    with pytest.raises(PackageError, match="no"):
        Explainer.load(tmp_path / "absent", digest)
