"""What a server makes of serve.json."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.params import Disclose, PredictionLog, ServeParams, Shadow
from modelyard.serving.serve_settings import FILE, ServeSettings, read_settings


def test_what_the_follower_writes_is_read(tmp_path: Path) -> None:
    params = ServeParams(
        shadow=Shadow(percent=12.5, atol=0.1),
        disclose=Disclose(decimals=3, top=2),
        log=PredictionLog(sample=0.5, days=2, max_mb=7, content=True),
    )
    (tmp_path / FILE).write_text(params.model_dump_json())
    assert read_settings(tmp_path) == ServeSettings(
        shadow_percent=12.5,
        shadow_atol=0.1,
        decimals=3,
        top=2,
        log_sample=0.5,
        log_days=2,
        log_mb=7,
        log_content=True,
    )


def test_null_and_a_missing_file_mean_the_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == ServeSettings()
    (tmp_path / FILE).write_text(ServeParams().model_dump_json())
    assert read_settings(tmp_path) == ServeSettings()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"log": 3}', '{"shadow": {"percent": "x"}}'])
def test_what_somebody_broke_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_settings(tmp_path) == ServeSettings()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["shadow", "disclose", "log", "canary"]), json_values))
def test_no_content_stops_a_server(tmp_path_factory: pytest.TempPathFactory, tree: dict) -> None:
    folder = tmp_path_factory.mktemp("m")
    (folder / FILE).write_text(json.dumps(tree))
    assert isinstance(read_settings(folder), ServeSettings)
