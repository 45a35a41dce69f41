"""Bags of n-grams: Python and ONNX Runtime find the same tokens in any text."""

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from prepared_rows import by_graph

from modelyard.data import prepare_text
from modelyard.data.prepare_text import Bag, read_vocabulary
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import ParamsError, SourceError
from modelyard.params import Text

# Each side of each bound between letters and signs, and what tokenizers disagree about.
BOUNDS = [chr(code + step) for pair in prepare_text._LETTERS for code in map(ord, pair)
          for step in (-1, 0, 1) if 0 < code + step < 0x110000]  # fmt: skip
TRICKY = [
    *BOUNDS,
    "don't",
    "'",
    "\u2019",
    "\0",
    "\r\n",
    "\u200d",
    "e\u0301",
    "İ",
    "ß",
    "ǅ",
    "A",
    "a",
    " ",
]
texts = st.lists(
    st.lists(st.sampled_from(TRICKY) | st.text(max_size=4), max_size=12).map("".join),
    min_size=1,
    max_size=5,
)
params = st.builds(
    Text,
    tokens=st.sampled_from(["words", "characters"]),
    lowercase=st.booleans(),
    ngrams=st.tuples(st.integers(1, 3), st.integers(0, 2)).map(lambda p: (p[0], p[0] + p[1])),
    max_features=st.integers(1, 40),
    min_count=st.just(1),
    weight=st.sampled_from(["tfidf", "count", "binary"]),
)


def objects(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


def bag(values: list[str], known: list[str] | None = None, **changes: Any) -> Bag:
    return Bag.fit("review", Text(**{"min_count": 1, **changes}), [objects(values)], known)


def dense(fitted: Bag, values: list[str]) -> np.ndarray:
    return Preprocessing((fitted,)).transform({"review": objects(values)})


@settings(max_examples=80, deadline=None)
@given(train=texts, others=texts, params=params)
@example(train=["a b", ""], others=["", "  "], params=Text(min_count=1))
def test_transform_and_the_graph_agree(train: list[str], others: list[str], params: Text) -> None:
    try:
        fitted = Bag.fit("review", params, [objects(train)])
    except ParamsError:
        reject()  # no text has a token
    preprocessing = Preprocessing((fitted,))
    columns = {"review": objects([*train, *others])}
    tensor = preprocessing.transform(columns)
    np.testing.assert_allclose(by_graph(preprocessing, columns), tensor, atol=1e-6)
    lengths = np.linalg.norm(tensor, axis=1)
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()


def test_a_very_long_text_is_a_row_like_others() -> None:
    preprocessing = Preprocessing((bag(["long text", "short"]),))
    columns = {"review": objects(["short", "Long " * 100_000, ""])}
    tensor = preprocessing.transform(columns)
    np.testing.assert_array_equal(tensor[1] > 0, [True, False, False, False])
    np.testing.assert_allclose(by_graph(preprocessing, columns), tensor, atol=1e-6)


def test_words_are_runs_of_letters_with_apostrophes_within() -> None:
    fitted = bag(["x"], ngrams=(1, 1))
    text = "Don't PANIC: 'Ärger' um 3,50€ \u2013 “naïve” 漢字、かな! L\u2019été it's' a_b"
    found = ["don't", "panic", "Ärger", "um", "3", "50", "naïve", "漢字", "かな", "l\u2019été"]
    assert list(fitted.grams(text)) == [*found, "it's", "a", "b"]


def test_vocabulary_is_the_commonest_with_ties_in_order() -> None:
    fitted = bag(["b a c", "b a", "b z z z"], ngrams=(1, 1), max_features=4)
    assert fitted.vocabulary == ("b", "a", "c", "z")
    assert fitted.weights == pytest.approx([1, log(4 / 3) + 1, log(2) + 1, log(2) + 1])
    assert bag(["b a c", "b a", "b"], ngrams=(1, 2), min_count=2).vocabulary == ("b", "a", "b a")
    assert bag(["b a b"], ngrams=(2, 2)).vocabulary == ("a b", "b a")
    assert bag(["ab b"], tokens="characters", ngrams=(2, 2)).vocabulary == (" b", "ab", "b ")


def test_weights_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    values = ["good film , good cast", "bad film", "a good bad idea", "film"]
    fitted = bag(values, ngrams=(1, 2))
    pattern = r"(?u)\b\w+\b"
    reference = TfidfVectorizer(
        ngram_range=(1, 2), vocabulary=list(fitted.vocabulary), token_pattern=pattern
    )
    np.testing.assert_allclose(
        dense(fitted, values), reference.fit_transform(values).toarray(), atol=1e-6
    )


def test_rare_ngrams_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_text, "_MOST_GRAMS", 4)
    batches = [objects(["a b", "a c d e"]), objects(["a b", "b"])]
    fitted = Bag.fit("review", Text(ngrams=(1, 1), min_count=2), batches)
    assert fitted.vocabulary == ("a", "b")


def test_a_packages_vocabulary_alone_counts(tmp_path: Path) -> None:
    lines, tokenizer = tmp_path / "vocab.txt", tmp_path / "tokenizer.json"
    lines.write_text("[PAD]\nGood\nbad\n##ing\ngood film\n", encoding="utf-8")
    tokenizer.write_text(json.dumps({"model": {"vocab": {"good": 1, "bad": 0}}}))
    assert set(read_vocabulary(tokenizer)) == {"good", "bad"}
    known = read_vocabulary(lines)
    assert bag(["good film", "bad idea"], [*known]).vocabulary == ("bad", "good", "good film")
    assert bag(["Good", "good"], ["Good"], lowercase=False).vocabulary == ("Good",)
    with pytest.raises(ParamsError, match="that the vocabulary knows"):
        bag(["idea"], [*known])
    tokenizer.write_text("[]")
    with pytest.raises(SourceError, match=r"tokenizer\.json holds no list of tokens"):
        read_vocabulary(tokenizer)


def test_a_vocabulary_that_nothing_reaches_is_refused() -> None:
    with pytest.raises(ParamsError, match="review has no n-gram that 2 or more of the 2 texts"):
        bag(["a", "b"], min_count=2)
