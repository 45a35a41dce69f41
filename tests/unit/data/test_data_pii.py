"""Tokens of personal data: stable, unreadable, bound to their column; the key is nobody else's."""

import base64
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.pii import KEY, Tokenizer
from modelyard.errors import WorkspaceError


def test_equal_values_have_equal_tokens_in_every_process(tmp_path: Path) -> None:
    first = Tokenizer.open(tmp_path).tokens(["ann", "bob", "ann", "", "zoë"], "name")
    again = Tokenizer.open(tmp_path).tokens(["zoë", "ann"], "name")
    assert first[0] == first[2] == again[1]
    assert first[4] == again[0]
    assert first[3] == ""
    assert len(set(first)) == 4
    other = tmp_path / "other"
    assert Tokenizer.open(other).tokens(["ann"], "name") != again[1:]


def test_tokens_of_two_columns_cannot_be_matched(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(tmp_path)
    assert tokenizer.tokens(["ann"], "name") != tokenizer.tokens(["ann"], "mother")


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=8))
def test_only_the_key_leads_back(values: list[str]) -> None:
    key = bytes(range(64))
    tokens = Tokenizer(key).tokens(values, "c")
    for value, token in zip(values, tokens, strict=True):
        assert (token == "") == (value == "")
        if value:
            sealed = base64.urlsafe_b64decode(token)
            assert AESSIV(key).decrypt(sealed, [b"c"]).decode() == value
            with pytest.raises(InvalidTag):
                AESSIV(bytes(64)).decrypt(sealed, [b"c"])


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = [pool.submit(Tokenizer.open, tmp_path) for _ in range(16)]
    assert len({tuple(item.result().tokens(["a"])) for item in opened}) == 1
    path = tmp_path / KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["pii.key"]


def test_a_key_that_others_read_or_that_is_cut_short_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Tokenizer.open(tmp_path).tokens(["ann"], "name")
    path = tmp_path / KEY
    path.chmod(0o644)
    with pytest.raises(WorkspaceError, match="can be read by others") as caught:
        Tokenizer.open(tmp_path)
    assert f"chmod 600 {path}" in caught.value.remedy
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(WorkspaceError, match="has 5 bytes, not 64"):
        Tokenizer.open(tmp_path)
    assert caplog.text == ""
