"""The prediction log: what is kept and what never is, torn lines, bounds, and how it is read."""

import io
import os
import shutil
import stat
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelyard.artifacts import write_json
from modelyard.errors import WorkspaceError
from modelyard.package import write_manifest
from modelyard.serving.log_files import convert_all, read_predictions
from modelyard.serving.log_retention import expire, expire_all
from modelyard.serving.log_spool import Spool, read_spool
from modelyard.serving.prediction_log import LogLimits
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import (
    ROW,
    write_audio_package,
    write_table_package,
    write_text_package,
)
from tests.unit.serving.tiny_packages import place, publish

ALL = {"sample": 1.0, "days": 30.0, "max_mb": 500.0, "content": False}
SECRET = "jane@example.com"


@pytest.fixture
def served(client: Client, folder: Path, tmp_path: Path) -> Client:
    """A model of each kind, each of whose requests is kept."""
    publish(folder, "digits", 1, 1)
    for name, write in (("sounds", write_audio_package), ("reviews", write_text_package)):
        place(tmp_path / name, folder, name, 1, write(tmp_path / name), 1)
    write_table_package(tmp_path / "table")
    kept = [{"kind": "category", "name": "status", "kept": ["good", "bad"]}]
    write_json(tmp_path / "table/preprocessing.json", {"features": kept})
    place(tmp_path / "table", folder, "table", 3, write_manifest(tmp_path / "table"), 1)
    for name in ("digits", "sounds", "reviews", "table"):
        log(folder, name)
    client.scan()
    # Each test says when lines are written; the thread is seen at work in test_serving_logs.
    client.app._log.close()
    return client


def log(folder: Path, name: str, **changes: Any) -> None:
    write_json(folder / name / "serve.json", {"log": ALL | changes})


def kept(client: Client, folder: Path, name: str) -> pa.Table:
    """What is logged once the worker has stopped and its files are converted."""
    client.app._log._turn(0.0)
    writer = client.app._log._writer
    assert writer is not None
    assert writer.wait(20) == 0
    return read_predictions(folder / name)


def ask(client: Client, name: str, rows: list[dict[str, Any]], request: str = "r-1") -> Any:
    headers = {"x-request-id": request}
    return client("POST", f"/predict/{name}", json={"rows": rows}, headers=headers)


def contents(folder: Path) -> bytes:
    files = [path for path in (folder.glob("*/predictions/**/*")) if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def test_a_row_of_each_predicted_one_with_typed_inputs(served: Client, folder: Path) -> None:
    before = datetime.now(UTC)
    answer = ask(served, "table", [ROW, {"visits": 7, "status": "ugly"}]).json()["predictions"]
    table = kept(served, folder, "table")
    first, second = table.to_pylist()
    assert before <= first["time"] <= datetime.now(UTC)
    assert {key: first[key] for key in ("request_id", "row", "model", "version", "caller")} == {
        "request_id": "r-1",
        "row": 0,
        "model": "table",
        "version": 3,
        "caller": None,
    }
    assert len(first["digest"]) == 64
    assert 0 < first["latency_ms"] < 10_000
    inputs = {name[6:]: value for name, value in first.items() if name.startswith("input_")}
    assert inputs == {
        "age": 31.5,
        "visits": 2,
        "married": True,
        "since": date(1970, 1, 11),
        "seen": datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC),
        "status": "good",
        "note": {"length": 3, "content": None},
    }
    assert first["label"] == answer[0]["label"]
    assert first["score"] == pytest.approx(answer[0]["probability"])
    assert dict(first["probabilities"]) == pytest.approx(answer[0]["probabilities"])
    assert second["row"] == 1
    assert (second["input_age"], second["input_since"]) == (None, None)
    assert second["input_status"] == "(other)", "an unknown category may hold anything"


def test_duckdb_reads_it_and_time_is_a_bound(served: Client, folder: Path, tmp_path: Path) -> None:
    ask(served, "table", [ROW, {"visits": 1, "note": "bad" * 9}])
    connection = duckdb.connect()
    connection.register("predictions", kept(served, folder, "table"))
    asked = "SELECT avg(input_visits), max(input_note.length), max(probabilities['high']) > 0.5"
    assert connection.sql(f"{asked} FROM predictions").fetchall() == [(1.5, 27, True)]
    now = datetime.now(UTC)
    assert read_predictions(folder / "table", since=now).num_rows == 0
    assert read_predictions(folder / "table", until=now).num_rows == 2
    assert read_predictions(folder / "table", now - timedelta(hours=1), now).num_rows == 2
    with pytest.raises(ValueError, match="time zone"):
        read_predictions(folder / "table", since=datetime(2026, 1, 1))
    assert read_predictions(folder / "nobody").num_rows == 0
    shutil.copytree(folder / "table", tmp_path / "env=prod/table")
    assert "env" not in read_predictions(tmp_path / "env=prod/table").column_names


def test_what_is_no_input_never_gets_there(served: Client, folder: Path) -> None:
    extra = {"visits": 1, "email": SECRET}
    assert ask(served, "table", [extra]).status_code == 400
    csv = f"visits,email\n1,{SECRET}\n"
    headers = {"content-type": "text/csv", "x-customer": SECRET, "cookie": SECRET}
    assert served("POST", "/predict/table", content=csv, headers=headers).status_code == 400
    frame = {"dataframe_records": [extra]}
    assert served("POST", "/invocations/table", json=frame).status_code == 400
    # A text and an unknown category may hold a name; of both no word is kept.
    fine = ask(served, "table", [{"visits": 1, "note": f"I am {SECRET}", "status": SECRET}])
    assert fine.status_code == 200
    headers |= {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
    served("POST", "/predict/table", json={"rows": [{"visits": 2}]}, headers=headers)
    served.app._log._write_lines()
    assert b"visits" in contents(folder)
    assert SECRET.encode() not in contents(folder)
    table = kept(served, folder, "table")
    assert table.num_rows == 2
    assert SECRET not in str(table.to_pylist())
    assert SECRET.encode() not in contents(folder)
    assert "input_email" not in table.column_names


@pytest.mark.parametrize("content", [False, True])
def test_pictures_sounds_and_texts(served: Client, folder: Path, content: bool) -> None:
    for name in ("digits", "sounds", "reviews", "table"):
        log(folder, name, content=content)
    served.scan()
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    headers = {"content-type": "image/png"}
    assert served("POST", "/predict/digits", content=file.getvalue(), headers=headers).is_success
    ask(served, "sounds", [{"sound": [2] * 16}, {"sound": [4] * 16}])
    ask(served, "reviews", [{"review": "good"}])
    ask(served, "table", [{"visits": 1, "status": "ugly"}])
    (picture,) = kept(served, folder, "digits")["input_image"].to_pylist()
    raw = pixels.tobytes() if content else None
    assert picture == {"shape": [4, 4], "mean": 7.5, "content": raw}
    sounds = read_predictions(folder / "sounds")
    assert sounds["score"].to_pylist() == [2.0, 4.0]
    assert sounds["label"].to_pylist() == [None, None]
    assert [one["mean"] for one in sounds["input_sound"].to_pylist()] == [2.0, 4.0]
    (review,) = read_predictions(folder / "reviews")["input_review"].to_pylist()
    assert review == {"length": 4, "content": "good" if content else None}
    (status,) = read_predictions(folder / "table")["input_status"].to_pylist()
    assert status == ("ugly" if content else "(other)")


def test_the_sample_is_of_ids(served: Client, folder: Path) -> None:
    log(folder, "table", sample=0.3)
    served.scan()
    ids = [f"request-{number}" for number in range(150)]
    for request in [*ids, *ids]:
        ask(served, "table", [{"visits": 1}], request)
    found = kept(served, folder, "table")["request_id"].to_pylist()
    assert 25 < len(set(found)) < 65
    assert sorted(found) == sorted([*set(found), *set(found)]), "an id is always in or out"
    log(folder, "table", sample=0.0)
    served.scan()
    ask(served, "table", [{"visits": 1}], found[0])
    ask(served, "digits", [{"image": [[0] * 4] * 4}])
    assert kept(served, folder, "table").num_rows == len(found)


def test_off_it_looks_at_nothing(served: Client, folder: Path) -> None:
    assert len(served.app._calls.observers) == 1
    for name in ("digits", "sounds", "reviews", "table"):
        write_json(folder / name / "serve.json", {"log": None})
    served.scan()
    assert served.app._calls.observers == []
    ask(served, "table", [ROW])
    served.app._log._turn(0.0)
    assert contents(folder) == b""


def test_only_the_owner_can_read_it(served: Client, folder: Path) -> None:
    ask(served, "table", [ROW])
    served.app._log._write_lines()
    for _ in range(2):
        paths = [folder / "table/predictions", *(folder / "table/predictions").rglob("*")]
        assert len(paths) >= 3
        for path in paths:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        kept(served, folder, "table")


def test_a_torn_line_is_skipped_and_a_file_in_writing_is_left(served: Client, folder: Path) -> None:
    ask(served, "table", [{"visits": 1}])
    served.app._log._write_lines()
    (spool,) = (folder / "table/predictions/.spool").iterdir()
    assert convert_all(folder / "table") == (0, 0), "its worker still writes it"
    whole = spool.read_bytes()
    torn = spool.with_name("worker-9-1.jsonl")
    torn.write_bytes(whole + whole.split(b"\n")[1][:-9])
    spool.with_name("worker-9-2.jsonl").write_bytes(whole[:20])
    spool.with_name("worker-9-3.jsonl").write_bytes(b"")
    strange = whole.split(b"\n")[0] + b'\n{"time": 1.0, "outputs": [[1]]}\n{}\n'
    spool.with_name("worker-9-4.jsonl").write_bytes(strange)
    assert convert_all(folder / "table") == (1, 5)
    assert [path.name for path in spool.parent.iterdir()] == [spool.name]
    (found,) = (folder / "table/predictions").glob("2*/*.parquet")
    assert found.stem == "worker-9-1"
    found.with_suffix(".tmp").write_bytes(b"")  # as of a writer at work
    assert read_predictions(folder / "table").num_rows == 1
    torn.write_bytes(whole)  # as after a kill between the two steps
    assert convert_all(folder / "table") == (1, 0)
    assert read_predictions(folder / "table").num_rows == 1


def test_a_full_disk_is_counted_and_said_once(
    served: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "table/predictions").write_text("no folder")
    for _ in range(3):
        assert ask(served, "table", [{"visits": 1}]).status_code == 200
        served.app._log._turn(60.0)
    assert 'modelyard_log_dropped_total{model="table"} 3.0' in served("GET", "/metrics").text
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "loses requests" in caplog.text
    (folder / "table/predictions").unlink()
    ask(served, "table", [{"visits": 1}])
    assert kept(served, folder, "table").num_rows == 1


def test_after_a_torn_line_the_next_begins_anew(tmp_path: Path) -> None:
    spool = Spool(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space"):
        spool.write([b'{"a": 1}'])
    spool.close()
    spool.descriptor = os.open(tmp_path / "spool", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(spool.descriptor, b'{"header": 1}\n{"a": ')
    spool.write([b'{"a": 2}', b'{"a": 3}'])
    spool.write([b'{"a": 4}'])
    spool.close()
    header, requests, num_torn = read_spool((tmp_path / "spool").read_bytes())
    assert (header, num_torn) == ({"header": 1}, 1)
    assert [request["a"] for request in requests] == [2, 3, 4]


def test_the_queue_is_bounded(served: Client) -> None:
    log = served.app._log
    log._limits = LogLimits(num_queued=3)
    for _ in range(5):
        ask(served, "table", [{"visits": 1}])
    assert len(log._queue) == 3
    log._limits = LogLimits(num_bytes=log._bytes_in + 100)
    ask(served, "reviews", [{"review": "x" * 200}])
    metrics = served("GET", "/metrics").text
    assert 'modelyard_log_dropped_total{model="table"} 2.0' in metrics
    assert 'modelyard_log_dropped_total{model="reviews"} 1.0' in metrics


def test_the_oldest_goes_first(served: Client, folder: Path) -> None:
    predictions = folder / "table/predictions"
    for day, name in (("2026-01-01", "a"), ("2026-01-02", "b"), ("2026-01-03", "c")):
        path = predictions / day / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 400_000)
    moment = datetime(2026, 1, 2, tzinfo=UTC).timestamp() + 2 * 86400
    for path in predictions.rglob("*.parquet"):
        os.utime(path, (moment, moment))
    expire(folder / "table", days=30, max_mb=500, now=moment)
    assert names(predictions) == ["a", "b", "c"]
    expire(folder / "table", days=30, max_mb=0.9, now=moment)
    assert names(predictions) == ["b", "c"]
    assert not (predictions / "2026-01-01").exists()
    expire(folder / "table", days=0.5, max_mb=500, now=moment)
    assert names(predictions) == ["c"]
    write_json(folder / "table/serve.json", {"log": None})
    expire_all(folder)
    assert names(predictions) == [], "also where the log was switched off"
    ask(served, "digits", [{"image": [[0] * 4] * 4}])
    served.app._log._write_lines()
    expire(folder / "digits", days=1, max_mb=0, now=time.time())
    assert list((folder / "digits/predictions/.spool").iterdir()), "it is being written"


def names(predictions: Path) -> list[str]:
    return sorted(path.stem for path in predictions.rglob("*.parquet"))


def test_versions_with_other_inputs_are_read_together(
    served: Client, folder: Path, tmp_path: Path
) -> None:
    ask(served, "table", [ROW])
    assert kept(served, folder, "table").num_rows == 1
    digest = write_text_package(tmp_path / "other")
    place(tmp_path / "other", folder, "table", 4, digest, 2)
    served.scan()
    ask(served, "table", [{"review": "bad"}])
    table = kept(served, folder, "table")
    assert table["version"].to_pylist() == [3, 4]
    assert table["input_visits"].to_pylist() == [2, None]
    path = folder / "table/predictions/2026-01-01/odd.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"input_visits": ["many"]}), path)
    with pytest.raises(WorkspaceError, match="other types"):
        read_predictions(folder / "table")
