"""services.json: nothing is lost, nobody else reads it, one process at a time changes it."""

import fcntl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import WorkspaceError
from modelyard.services import records
from modelyard.services.records import Entry

ENTRIES = st.dictionaries(
    st.from_regex("[a-z]{1,8}", fullmatch=True),
    st.builds(
        Entry,
        token=st.text(min_size=1),
        command=st.lists(st.text()).map(tuple),
        log=st.just(Path("/state/logs/x.log")),
        port=st.none() | st.integers(1, 65535),
        url=st.none() | st.text(),
        health=st.none() | st.text(),
        pid=st.none() | st.integers(1, 2**22),
        create_time=st.none() | st.floats(0, 1e10),
    ),
    min_size=1,
)


@given(entries=ENTRIES)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Entry]
) -> None:
    path = tmp_path_factory.mktemp("state") / "services.json"

    records.write(path, entries)

    assert records.read(path) == entries
    assert list(records.read(path)) == list(entries)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["services.json"]


def test_no_services_leave_no_record(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    records.write(path, {"a": Entry("t", ("x",), tmp_path / "a.log")})

    records.write(path, {})

    assert not path.exists()
    assert records.read(path) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a": 1}', '{"a": {"pid": 1}}'])
def test_a_broken_record_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "services.json"
    path.write_text(text)

    with pytest.raises(WorkspaceError, match=r"services.json is not a record"):
        records.read(path)


def test_a_second_holder_waits(tmp_path: Path) -> None:
    path = tmp_path / "new" / "services.json"

    with (
        records.locked(path),
        path.with_suffix(".lock").open() as second,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with path.with_suffix(".lock").open() as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
