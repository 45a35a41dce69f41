"""Text: a bag of n-grams of words or characters, weighed and scaled to length 1.

Python's ``re`` and the RE2 of ONNX Runtime must find the same tokens in any text. So a word is a
run of ASCII letters and digits and of all other characters that are not listed as signs below (no
class that depends on a version of Unicode), with apostrophes within; and lower case is that of
ASCII, which needs no locale.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import log
from pathlib import Path
from typing import Any, Self

import numpy as np

from modelyard.data.onnx_nodes import MICROSOFT, Nodes
from modelyard.errors import ParamsError, SourceError
from modelyard.params import Text

# Letters, digits and whatever is not punctuation, a symbol or a space: Latin-1 signs, General
# Punctuation to Miscellaneous Technical, boxes and arrows, CJK punctuation, full-width signs.
_LETTERS = (
    ("0", "9"),
    ("A", "Z"),
    ("a", "z"),
    ("\xaa", "\xaa"),
    ("\xb5", "\xb5"),
    ("\xba", "\xba"),
    ("\xc0", "\xd6"),
    ("\xd8", "\xf6"),
    ("\xf8", "\u1fff"),
    ("\u2070", "\u209f"),
    ("\u2100", "\u218f"),
    ("\u2c00", "\u2dff"),
    ("\u3040", "\ufdff"),
    ("\ufe70", "\ufefe"),
    ("\uff10", "\uff19"),
    ("\uff21", "\uff3a"),
    ("\uff41", "\uff5a"),
    ("\uff66", "\uffef"),
    ("\U00010000", "\U0010ffff"),
)
_MOST_GRAMS = 4_000_000
"""How many different n-grams are counted at once when the vocabulary is made."""


def _word_pattern(escape: str) -> str:
    """The expression of a word, its bounds written by ``escape`` for re or RE2."""
    letters = "".join(
        "-".join(escape.format(ord(bound)) for bound in dict.fromkeys(pair)) for pair in _LETTERS
    )
    apostrophe = escape.format(0x2019)
    return f"[{letters}]+(?:['{apostrophe}][{letters}]+)*"


_WORD = re.compile(_word_pattern(r"\U{:08x}"))
_WORD_RE2 = _word_pattern(r"\x{{{:x}}}")


@dataclass(frozen=True)
class Counts:
    """A sparse matrix [N, vocabulary] by rows: row i is ``starts[i]`` to ``starts[i + 1]``.

    ``starts`` int64 [N + 1], ``columns`` int32, ``values`` float32.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def fill(self, dense: np.ndarray, rows: np.ndarray) -> None:
        """Write ``rows`` into ``dense`` float32 [len(rows), vocabulary], which is all zeros."""
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        ends = np.cumsum(lengths)
        places = np.arange(lengths.sum()) + np.repeat(first - ends + lengths, lengths)
        dense[np.repeat(np.arange(len(rows)), lengths), self.columns[places]] = self.values[places]


@dataclass(frozen=True)
class Bag:
    """A fitted bag: ``vocabulary`` in the order of the columns, ``weights`` one factor each.

    An n-gram of words is written with spaces between them.
    """

    name: str
    tokens: str
    lowercase: bool
    ngrams: tuple[int, ...]
    weight: str
    vocabulary: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        name: str,
        params: Text,
        batches: Iterable[np.ndarray],
        known: Collection[str] | None = None,
    ) -> Self:
        """Fit on texts of train alone.

        An n-gram counts once a text. Those of at least ``min_count`` texts become the vocabulary,
        the commonest first, equally common ones in the order of their code points. The weight of
        tfidf is ln((1 + texts) / (1 + texts with it)) + 1 (Salton and Buckley 1988, smoothed).

        With more than 4 million different n-grams those seen in one text so far are forgotten, in
        the manner of lossy counting (Manku and Motwani 2002).

        Args:
            name: Of the feature.
            params: The section ``prepare.text``.
            batches: Str objects [n].
            known: Tokens and n-grams that alone may be in the vocabulary.

        Raises:
            ParamsError: no n-gram is common enough.
        """
        unfitted = cls(name, params.tokens, params.lowercase, params.ngrams, params.weight, (), ())
        allowed = None if known is None else set(map(unfitted.cased, known))
        counts: Counter[str] = Counter()
        total = 0
        for batch in batches:
            total += len(batch)
            for text in batch:
                grams = set(unfitted.grams(text))
                counts.update(grams if allowed is None else grams & allowed)
            if len(counts) > _MOST_GRAMS:
                counts = Counter({gram: count for gram, count in counts.items() if count > 1})
        common = [pair for pair in counts.items() if pair[1] >= params.min_count]
        common = sorted(common, key=lambda pair: (-pair[1], pair[0]))[: params.max_features]
        if not common:
            raise ParamsError(
                f"data.prepare.text: {name} has no n-gram that {params.min_count} or more of the "
                f"{total} texts of train share"
                + (", and that the vocabulary knows" if known is not None else ""),
                "Lower min_count, or set tokens: characters.",
            )
        weigh = params.weight == "tfidf"
        weights = [log((1 + total) / (1 + count)) + 1 if weigh else 1.0 for _, count in common]
        vocabulary = tuple(gram for gram, _ in common)
        return replace(unfitted, vocabulary=vocabulary, weights=tuple(weights))

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.vocabulary)

    def cased(self, text: str) -> str:
        """The text with ASCII letters in lower case, or as it is."""
        return text.encode().lower().decode() if self.lowercase else text

    def grams(self, text: str) -> Iterator[str]:
        """The n-grams of a text in order, the shortest first."""
        text = self.cased(text)
        tokens = _WORD.findall(text) if self.tokens == "words" else text
        joint = " " if self.tokens == "words" else ""
        for length in range(self.ngrams[0], self.ngrams[1] + 1):
            if length == 1:
                yield from tokens
            else:
                yield from map(joint.join, zip(*(tokens[i:] for i in range(length)), strict=False))

    def count(self, texts: np.ndarray) -> Counts:
        """The bags of texts, str objects [N], each of length 1 or empty."""
        index = {gram: column for column, gram in enumerate(self.vocabulary)}
        found = [[index[gram] for gram in self.grams(text) if gram in index] for text in texts]
        lengths = np.array([len(columns) for columns in found], np.int64)
        rows = np.repeat(np.arange(len(texts)), lengths)
        columns = np.fromiter(chain.from_iterable(found), np.int64, lengths.sum())
        cells, counts = np.unique(rows * self.size + columns, return_counts=True)
        rows, columns = np.divmod(cells, max(1, self.size))
        values = (counts > 0 if self.weight == "binary" else counts).astype(np.float32)
        values *= np.array(self.weights, np.float32)[columns]
        squares = np.bincount(rows, values.astype(np.float64) ** 2, len(texts))
        values /= np.sqrt(squares).astype(np.float32)[rows]
        starts = np.searchsorted(rows, np.arange(len(texts) + 1))
        return Counts(starts, columns.astype(np.int32), values)

    def add_to(self, graph: Nodes) -> str:
        """The same as nodes, [batch, size]; their input is named as the feature."""
        texts = graph.input(self.name, str)
        if self.lowercase:
            # The C locale knows ASCII alone, and is on every machine.
            texts = graph.add("StringNormalizer", texts, case_change_action="LOWER", locale="C")
        counts = graph.for_each_text(texts, self.size, self._add_counts)
        if self.weight == "binary":
            counts = graph.add("Sign", counts)
        weighed = graph.add("Mul", counts, graph.constant(np.array(self.weights, np.float32)))
        length = graph.add("ReduceL2", weighed, graph.constant(np.array([1], np.int64)), keepdims=1)
        # An empty bag stays empty; any other is at least 1 long, for weights are at least 1.
        return graph.add(
            "Div", weighed, graph.add("Max", length, graph.constant(np.ones(1, np.float32)))
        )

    def _add_counts(self, graph: Nodes, text: str) -> str:
        """How often each n-gram is in one text.

        Of several at once each would be padded to the tokens of the longest, which takes gigabytes.
        """
        how = {"tokenexp": _WORD_RE2} if self.tokens == "words" else {"separators": [""]}
        tokens = graph.add(
            "Tokenizer", text, domain=MICROSOFT, mark=0, pad_value="", mincharnum=1, **how
        )
        return graph.add("TfIdfVectorizer", tokens, mode="TF", max_skip_count=0, **self._pool())

    def _pool(self) -> dict[str, Any]:
        """The vocabulary as TfIdfVectorizer takes it: tokens in a row, by length of n-gram."""
        split = [
            gram.split(" ") if self.tokens == "words" else list(gram) for gram in self.vocabulary
        ]
        order = sorted(range(self.size), key=lambda column: len(split[column]))
        longest = len(split[order[-1]])
        sizes = [sum(len(gram) for gram in split if len(gram) == n) for n in range(1, longest + 1)]
        return {
            "min_gram_length": len(split[order[0]]),
            "max_gram_length": longest,
            "ngram_counts": [sum(sizes[:n]) for n in range(longest)],
            "ngram_indexes": order,
            "pool_strings": [token for column in order for token in split[column]],
        }


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Tokens of a package's file: one a line, or the vocabulary of a ``tokenizer.json``.

    Raises:
        SourceError: the file is neither.
    """
    remedy = "data.prepare.text.vocabulary takes UTF-8 text, one token a line, or a tokenizer.json."
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            return tuple(line for line in text.splitlines() if line)
        tokens = json.loads(text)["model"]["vocab"]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path.name} holds no list of tokens: {error}", remedy) from None
    # A Unigram model has pairs of a token and its score.
    return tuple(token if isinstance(token, str) else str(token[0]) for token in tokens)
