"""A checkpoint is whole and unchanged, or it is not used."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import WorkspaceError
from modelyard.training import EpochRecord, checkpoints
from modelyard.training.checkpoints import State

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}


def _write(folder: Path, epochs: int, inputs: str = "inputs") -> Path:
    history = tuple(EpochRecord(i, 1 / i, 2.0, 0.5, 0.1) for i in range(1, epochs + 1))
    state = State(inputs, history, False, {"num_classes": 3})
    return checkpoints.write(folder, state, TENSORS, {}, TENSORS)


def test_newest_is_read_back_and_two_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        _write(tmp_path, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00002", "epoch-00003"]
    found = checkpoints.newest(tmp_path, "inputs")
    assert found is not None
    assert [record.epoch for record in found.state.history] == [1, 2, 3]
    assert found.state.history == checkpoints.read_history(tmp_path)
    read = checkpoints.read_tensors(found.path / checkpoints.MODEL)
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
    assert checkpoints.read_tensors(found.path / checkpoints.OPTIMIZER) == {}


def test_nothing_or_something_else_is_no_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert checkpoints.newest(tmp_path / "nothing", "inputs") is None
    _write(tmp_path, 1, "others")
    assert checkpoints.newest(tmp_path, "inputs") is None
    assert "of other data or params" in caplog.text


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        older, newer = _write(folder, 1), _write(folder, 2)
        path = newer / data.draw(st.sampled_from(sorted(path.name for path in newer.iterdir())))
        content = bytearray(path.read_bytes())
        deed = data.draw(st.sampled_from(["flip", "cut", "remove"]))
        position = data.draw(st.integers(0, len(content) - 2))
        if path.name == "manifest.json":  # its white space carries nothing
            position = content.index(b'"', 0, -1)
        if deed == "remove":
            path.unlink()
        elif deed == "cut":
            path.write_bytes(content[:position])
        else:
            content[position] ^= data.draw(st.integers(1, 255))
            path.write_bytes(content)
        found = checkpoints.newest(folder, "inputs")
        assert found is not None
        assert found.path == older
        checkpoints.discard_after(folder, found)
        assert [left.name for left in folder.iterdir()] == [older.name]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    (tmp_path / ".writing-abc").mkdir()
    checkpoints.discard_after(tmp_path, checkpoints.newest(tmp_path, "inputs"))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001"]


def test_a_failed_write_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_json", full)
    with pytest.raises(WorkspaceError, match="No space left") as error:
        _write(tmp_path, 2)
    assert "resumes" in error.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001"]
