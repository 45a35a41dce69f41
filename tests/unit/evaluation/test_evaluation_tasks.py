"""Answers and scores of each task."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.metrics import jaccard_score

from modelyard.data.preprocessing import Target
from modelyard.evaluation.tasks import NO_NUMBER, Scoring, to_answers

CLASSES = Scoring("classification", "accuracy")
LABELS = Scoring("multi-label", "jaccard")
NUMBERS = Scoring("regression", "skill", typical_error=4.0)


@given(st.integers(0, 1000), st.sampled_from([1.0, 100.0]))
@settings(max_examples=20, deadline=None)
def test_outputs_become_probabilities(seed: int, scale: float) -> None:
    outputs = (np.random.default_rng(seed).normal(size=(6, 3)) * scale).astype(np.float32)
    classes = to_answers("classification", outputs, None)
    labels = to_answers("multi-label", outputs, None)
    assert classes.dtype == labels.dtype == np.float32
    assert np.allclose(classes, softmax(outputs, axis=1), atol=1e-6)
    assert np.allclose(labels, expit(outputs), atol=1e-6)


def test_outputs_become_numbers_in_the_targets_unit() -> None:
    outputs = np.array([[0.0], [-2.0]], np.float32)
    found = to_answers("regression", outputs, Target(250_000.0, 1e5, 2e5, 5e4))
    assert found.dtype == np.float32
    assert found.tolist() == [[250_000.0], [50_000.0]]


def test_a_class_scores_one_or_nothing() -> None:
    answers = np.array([[0.2, 0.8], [0.6, 0.4], [np.nan, 0.4]])
    assert CLASSES.scores(answers, np.array([1, 1, 1])).tolist() == [1, 0, 0]


def test_labels_score_what_they_share() -> None:
    answers = np.array([[0.9, 0.9, 0.1], [0.1, 0.5, 0.1], [0.9, 0.1, 0.1], [np.nan, 0, 0]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]], np.uint8)
    assert LABELS.scores(answers, targets).tolist() == [0.5, 1, 0, 0]
    known = jaccard_score(targets[[0, 2]], answers[[0, 2]] > 0.5, average="samples")
    assert LABELS.scores(answers, targets)[[0, 2]].mean() == pytest.approx(known)


def test_numbers_score_their_distance() -> None:
    answers = np.array([[1.0], [5.0], [9.0], [np.inf], [np.nan]])
    scores = NUMBERS.scores(answers, np.array([1.0, 1.0, 1.0, 1.0, 1.0]))
    assert scores.tolist() == [1, 0, -1, NO_NUMBER, NO_NUMBER]
