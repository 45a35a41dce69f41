"""Patterns with placeholders: what they read from a path, and what they refuse to guess."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.placeholders import Placeholders
from modelyard.errors import ParamsError

WORD = st.text("abcé0.-", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("pattern", "folder", "glob", "names"),
    [
        ("images/{split}/{label}/*.png", "images", "images/*/*/*.png", ("split", "label")),
        ("package:x==1.0/a/b/{label}_*.wav", "a/b", "a/b/*_*.wav", ("label",)),
        ("s3://bucket/pre/{label}/*.png", "pre", "pre/*/*.png", ("label",)),
        ("{label}_{take}.wav", "", "*_*.wav", ("label", "take")),
        ("a/b/table.csv", "a/b", "a/b/table.csv", ()),
        ("./texts//{label}/**/*.txt", "texts", "texts/*/**/*.txt", ("label",)),
        ("sqlite:///rows.db", "sqlite:", "sqlite:/rows.db", ()),
    ],
)
def test_parses(pattern: str, folder: str, glob: str, names: tuple[str, ...]) -> None:
    found = Placeholders.parse(pattern)
    assert (found.folder, found.glob, found.names) == (folder, glob, names)


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("i/{split}/{label}/*.png", "train/cat/a.b.png", {"split": "train", "label": "cat"}),
        ("{label}_{who}_{n}.wav", "no_ann_3.wav", {"label": "no", "who": "ann", "n": "3"}),
        ("**/{label}/*.png", "x/y/cat/1.png", {"label": "cat"}),
        ("**/{label}/*.png", "cat/1.png", {"label": "cat"}),
        ("{label}/**", "cat/x/y.txt", {"label": "cat"}),
        ("{label}/?.png", "katze groß/1.png", {"label": "katze groß"}),
        ("{label}-[1].png", "a-[1].png", {"label": "a"}),
        ("{label}/a*b*.png", "cat/abb.png", {"label": "cat"}),
    ],
)
def test_reads_the_fields_of_a_path(pattern: str, path: str, values: dict[str, str]) -> None:
    assert Placeholders.parse(pattern).match(path) == values


@pytest.mark.parametrize(
    ("pattern", "path", "reason"),
    [
        ("{label}/*.png", "cat/1.jpg", "does not match {label}/*.png"),
        ("{label}/*.png", "cat/deep/1.png", "does not match"),
        ("{label}/*.png", "1.png", "does not match"),
        ("{label}_{n}.wav", "_3.wav", "does not match"),
        ("{label}_{n}.wav", "a_b_3.wav", "in two ways by {label}_{n}.wav: label 'a' or 'a_b'"),
        ("x_*_{n}_*.wav", "x_a_b_c_d.wav", "can be read in two ways"),
    ],
)
def test_refuses_a_path_with_the_reason(pattern: str, path: str, reason: str) -> None:
    found = Placeholders.parse(pattern)
    assert found.match(path) is None
    assert reason in found.refusal(path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a/{x}{y}.png", "nothing stands between"),
        ("a/{x}*.png", "nothing stands between"),
        ("a/{x}/{x}_*.png", "{x} stands in it twice"),
        ("a/{}/b", "no {placeholder}"),
        ("a/{x/b", "no {placeholder}"),
        ("a/{x-y}/b", "{x-y} is no name of a field"),
        ("**/{x}/**/*.png", "has ** twice"),
    ],
)
def test_refuses_a_pattern_that_says_nothing_clear(pattern: str, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Placeholders.parse(pattern)
    assert message in caught.value.message
    assert caught.value.remedy


def test_values_are_composed_so_that_equal_names_are_one_class() -> None:
    decomposed = unicodedata.normalize("NFD", "é/1.png")
    assert decomposed != "é/1.png"
    assert Placeholders.parse("{label}/*.png").match(decomposed) == {"label": "é"}


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(WORD, min_size=3, max_size=3),
    separators=st.lists(st.sampled_from(["/", "_", "-x-"]), min_size=2, max_size=2),
)
def test_what_was_written_is_read_or_refused_as_unclear(
    values: list[str], separators: list[str]
) -> None:
    """Against a plain search through all readings: the only one is found, and no other."""
    first, second = separators
    pattern = Placeholders.parse(f"root/{{a}}{first}{{b}}{second}{{c}}.png")
    path = f"{values[0]}{first}{values[1]}{second}{values[2]}.png"
    readings = {
        (path[:i], path[i + len(first) : j], path[j + len(second) : -4])
        for i in range(len(path))
        for j in range(i + len(first), len(path))
        if path.startswith(first, i) and path.startswith(second, j)
    }
    named = [one for one in readings if all(part and "/" not in part for part in one)]
    found = pattern.match(path)
    if len(named) == 1:
        assert found is not None
        assert tuple(found.values()) == tuple(values)
    else:
        assert found is None
        assert "in two ways" in pattern.refusal(path)


@settings(max_examples=100, deadline=None)
@given(st.text("ab{}*?/_[]\\.", max_size=12), st.text("ab{}*?/_.\n", max_size=12))
def test_any_pattern_is_parsed_or_refused_and_any_path_matched_or_not(
    pattern: str, path: str
) -> None:
    try:
        found = Placeholders.parse(pattern)
    except ParamsError:
        return
    values = found.match(path)
    if values is None:
        assert found.refusal(path)
    else:
        assert set(values) == set(found.names)
    assert not re.search(r"[{}]", found.glob)
