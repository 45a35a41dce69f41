"""How rows are cleaned before they are accepted, and what is fitted on the train split."""

from typing import Annotated, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from modelyard.params.base import Section

Sha256 = Annotated[str, Key(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Key(ge=1)]


class Outliers(Section):
    """Numbers far from the rest, by quartiles (Tukey 1977) or standard deviations.

    ``reject`` refuses the row, by bounds of all rows, those of the later test split among them: a
    row is refused before rows are divided. ``clip`` moves the value to the bound, which is fitted
    on the train split and part of the served model.
    """

    method: Literal["iqr", "zscore"] = "iqr"
    factor: Annotated[float, Key(gt=0)] = 3.0
    policy: Literal["clip", "reject"] = "clip"


class Clean(Section):
    """What is done to rows before they are accepted; each is counted in the report.

    ``duplicates`` are rows that equal an earlier one in every column of the contract. ``constant``
    are feature columns of one single value, or of none.
    """

    trim: bool = True
    duplicates: Literal["keep", "drop", "fail"] = "keep"
    constant: Literal["keep", "drop", "fail"] = "drop"
    outliers: Outliers | None = None


class Leakage(Section):
    """What stops a run because the test split would be known before: ``allow`` is a decision.

    ``rows``: equal features in two splits. ``target``: a feature that is a copy of the target.
    """

    rows: Literal["fail", "allow"] = "fail"
    groups: Annotated[tuple[str, ...], Key(strict=False)] = ()
    target: Literal["fail", "allow"] = "fail"


class Numbers(Section):
    """Numbers and dates: the value put for a missing one, and the scale.

    ``indicate`` adds a column that says where a value was missing in train.
    """

    impute: Literal["median", "mean", "zero"] = "median"
    scale: Literal["standard", "minmax", "none"] = "standard"
    indicate: bool = True


class Categories(Section):
    """Categories: the commonest of train become columns (one-hot) or learned vectors.

    All others, also those that train does not know, share one place; a missing value has its own.
    """

    encode: Literal["one_hot", "embedding"] = "one_hot"
    max_categories: Annotated[int, Key(ge=2, le=100_000)] = 64
    min_count: Count = 1
    dimension: Annotated[int | None, Key(ge=1, le=1024)] = None


class Vocabulary(Section):
    """A list of tokens that a package carries, one a line, or a ``tokenizer.json``."""

    source: Annotated[str, Key(pattern="^package:.+==.+/.+")]
    sha256: Sha256


class Text(Section):
    """Text as a bag of n-grams of words or characters, weighed and scaled to length 1.

    The tokens are the commonest of the train split, or those of a package's ``vocabulary``.
    """

    tokens: Literal["words", "characters"] = "words"
    lowercase: bool = True
    ngrams: Annotated[tuple[Count, Count], Key(strict=False)] = (1, 2)
    max_features: Annotated[int, Key(ge=1, le=100_000)] = 5000
    min_count: Count = 2
    weight: Literal["tfidf", "count", "binary"] = "tfidf"
    vocabulary: Vocabulary | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {list(self.ngrams)}: the shortest is above the longest")
        return self


class Audio(Section):
    """Sound as a log-mel spectrogram, computed once when the data are ingested."""

    mels: Annotated[int, Key(ge=8, le=256)] = 40
    window_ms: Annotated[float, Key(gt=0, le=200)] = 25
    hop_ms: Annotated[float, Key(gt=0, le=200)] = 10
    low_hz: Annotated[float, Key(ge=0)] = 20
    high_hz: Annotated[float, Key(gt=0)] | None = None


class Prepare(Section):
    """What is fitted on the train split, by the type of the columns that it is for."""

    numbers: Numbers = Numbers()
    categories: Categories = Categories()
    text: Text = Text()
    audio: Audio = Audio()
