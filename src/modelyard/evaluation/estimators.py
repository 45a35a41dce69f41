"""scikit-learn's models on the rows that the network sees, with fixed hyper-parameters.

They are to be a fair and quick yardstick, not the best that could be had: the preprocessing is the
network's, and what would take long is fitted on fewer columns.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from modelyard.data.preprocessing import Preprocessing

SPARSE = 0.2
"""Below this share of values other than zero, prepared rows are kept sparse."""
SEED = 0
LINEAR_WORK = 500_000_000
BOOSTING_WORK = 600_000_000
"""Rows x columns x outputs, and rows x columns x trees: about five seconds on one core."""
MAX_BOOSTING_COLUMNS = 256
MIN_COLUMNS = 16
MAX_ITERATIONS = 200

Answer = Callable[["Matrix"], np.ndarray]
"""Prepared rows to answers, float64 [N, K]."""


@dataclass(frozen=True)
class Matrix:
    """Prepared rows [N, D], dense float32 or sparse; the last columns are ids of categories.

    ``cardinalities`` has one entry for each of those columns.
    """

    values: Any
    cardinalities: tuple[int, ...]

    @property
    def num_columns(self) -> int:
        """How many columns a row has."""
        return self.values.shape[1]


@dataclass(frozen=True)
class Fitted:
    """An estimator's answers, and how many of the columns it was fitted on."""

    answer: Answer
    num_columns: int


def prepare(preprocessing: Preprocessing, rows: dict[str, np.ndarray]) -> Matrix:
    """What the network sees of raw rows, flat; mostly zeros are kept sparse.

    Args:
        preprocessing: Fitted on the train split.
        rows: Raw columns by feature name, [N, ...] each.
    """
    from scipy import sparse

    cardinalities = tuple(size for size, _ in preprocessing.embeddings)
    blocks = (block.reshape(len(block), -1) for block in preprocessing.blocks(rows))
    first = next(blocks)
    if np.count_nonzero(first) < SPARSE * first.size:
        parts = [sparse.csr_matrix(block) for block in chain([first], blocks)]
        return Matrix(sparse.vstack(parts, format="csr"), cardinalities)
    return Matrix(np.concatenate([first, *blocks]), cardinalities)


def fit_linear(train: Matrix, targets: np.ndarray, task: str, num_outputs: int) -> Fitted:
    """Logistic regression (one a label, where a row has several) or ridge regression.

    Both have the penalty of strength 1 that scikit-learn begins with. Ids of categories become one
    column each.

    Args:
        train: Rows to fit on.
        targets: int64 [N], uint8 [N, K], or float64 [N].
        task: Of the dataset.
        num_outputs: Classes, labels, or 1.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    spread = _one_hot(train)
    limit = spread.shape[1]
    if isinstance(spread, np.ndarray):
        limit = max(MIN_COLUMNS, LINEAR_WORK // (len(spread) * num_outputs))
    chosen = _best_columns(spread, targets, limit)

    def make() -> Any:
        if task == "regression":
            return Ridge(alpha=1.0, solver="lsqr")
        return LogisticRegression(C=1.0, max_iter=MAX_ITERATIONS)

    with _quiet_and_alone():
        answer = _fit(make, spread[:, chosen], targets, task, num_outputs, {})
    return Fitted(lambda rows: answer(_one_hot(rows)[:, chosen]), len(chosen))


def fit_boosting(
    train: Matrix,
    targets: np.ndarray,
    validation: Matrix,
    validation_targets: np.ndarray,
    task: str,
    num_outputs: int,
) -> Fitted:
    """Gradient boosting of histogram trees, ended by the validation rows.

    Trees have at most 15 leaves; there are up to 200 at rate 0.1, or 50 for each of several classes
    at rate 0.2. Wide rows are reduced to the columns with the highest F statistic against the
    target (the sum over labels), so that it ends in seconds. Ids of categories are taken as
    numbers: they go by how common a category is.

    Args:
        train: Rows to fit on.
        targets: int64 [N], uint8 [N, K], or float64 [N].
        validation: Rows that tell when to stop.
        validation_targets: As ``targets``.
        task: Of the dataset.
        num_outputs: Classes, labels, or 1.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    several = task == "classification" and num_outputs > 2
    rounds, rate = (50, 0.2) if several else (200, 0.1)
    trees = rounds * (num_outputs if several or task == "multi-label" else 1)
    limit = BOOSTING_WORK // (train.values.shape[0] * trees)
    limit = min(max(limit, MIN_COLUMNS), MAX_BOOSTING_COLUMNS)
    chosen = _best_columns(train.values, targets, limit)
    settings: dict[str, Any] = {
        "learning_rate": rate,
        "max_iter": rounds,
        "max_leaf_nodes": 15,
        "max_bins": 63,
        "early_stopping": True,
        "n_iter_no_change": 10,
        "random_state": SEED,
    }
    numbers = task == "regression"
    kind = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier

    def make() -> Any:
        return kind(**settings)

    watched = {"X_val": _dense(validation.values[:, chosen]), "y_val": validation_targets}
    rows = _dense(train.values[:, chosen])
    with _quiet_and_alone():
        answer = _fit(make, rows, targets, task, num_outputs, watched)
    return Fitted(lambda rows: answer(_dense(rows.values[:, chosen])), len(chosen))


def _fit(
    make: Callable[[], Any],
    rows: Any,
    targets: np.ndarray,
    task: str,
    num_outputs: int,
    watched: dict[str, Any],
) -> Callable[[Any], np.ndarray]:
    """Fit one estimator, or one a label, and give the function that answers in the task's form."""
    if task == "regression":
        model = make().fit(rows, targets, **watched)
        return _alone(lambda given: model.predict(given)[:, None].astype(np.float64))
    if task == "classification":
        model = _fit_classes(make, rows, targets, watched)
        return _alone(lambda given: _probabilities(model, given, num_outputs))
    models = [
        _fit_classes(make, rows, targets[:, k], _of_label(watched, k)) for k in range(num_outputs)
    ]
    return _alone(
        lambda given: np.stack([_probabilities(model, given, 2)[:, 1] for model in models], axis=1)
    )


def _fit_classes(
    make: Callable[[], Any], rows: Any, targets: np.ndarray, watched: dict[str, Any]
) -> Any:
    """A classifier, or the one class that there is."""
    classes = np.unique(targets)
    if len(classes) == 1:
        return int(classes[0])
    if watched:
        known = np.isin(watched["y_val"], classes)
        watched = {name: values[known] for name, values in watched.items()}
        if not known.any():
            return make().set_params(early_stopping=False).fit(rows, targets)
    return make().fit(rows, targets, **watched)


def _of_label(watched: dict[str, Any], k: int) -> dict[str, Any]:
    return watched and {"X_val": watched["X_val"], "y_val": watched["y_val"][:, k]}


def _probabilities(model: Any, rows: Any, num_classes: int) -> np.ndarray:
    """float64 [N, K]; classes that the estimator has not seen get 0."""
    answers = np.zeros((rows.shape[0], num_classes))
    if isinstance(model, int):
        answers[:, model] = 1.0
    else:
        answers[:, model.classes_] = model.predict_proba(rows)
    return answers


def _best_columns(values: Any, targets: np.ndarray, limit: int) -> np.ndarray:
    """Positions of the columns with the highest F statistic, in their order; ties to the first."""
    from sklearn.feature_selection import f_classif, f_regression

    if values.shape[1] <= limit:
        return np.arange(values.shape[1])
    labels = targets.T if targets.ndim == 2 else targets[None]
    test = f_regression if targets.dtype.kind == "f" else f_classif
    with _quiet_and_alone():
        found = [test(values, label)[0] for label in labels if len(np.unique(label)) > 1]
    # 0 / 0 where a column has one value.
    strength = np.nan_to_num(np.array(found), nan=0.0, posinf=1e12).sum(axis=0)
    return np.sort(np.argsort(-strength, kind="stable")[:limit])


def _one_hot(rows: Matrix) -> Any:
    """The rows with a column for each category in place of the columns of ids."""
    from scipy import sparse

    if not rows.cardinalities:
        return rows.values
    plain = rows.num_columns - len(rows.cardinalities)
    parts = [sparse.csr_matrix(rows.values[:, :plain])]
    num_rows = rows.values.shape[0]
    for position, size in enumerate(rows.cardinalities, plain):
        ids = _dense(rows.values[:, [position]])[:, 0].astype(np.int64)
        ones = np.ones(num_rows, np.float32)
        parts.append(sparse.csr_matrix((ones, (np.arange(num_rows), ids)), (num_rows, size)))
    return sparse.hstack(parts, format="csr")


def _dense(values: Any) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else values.toarray()


def _alone(function: Callable[[Any], np.ndarray]) -> Callable[[Any], np.ndarray]:
    def run(rows: Any) -> np.ndarray:
        with _quiet_and_alone():
            return function(rows)

    return run


@contextmanager
def _quiet_and_alone() -> Iterator[None]:
    """One thread, for the order of sums decides their last bits; no advice to iterate longer."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
