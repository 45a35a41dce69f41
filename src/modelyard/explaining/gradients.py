"""Integrated gradients of a network's answer (Sundararajan, Taly and Yan, ICML 2017, section 3).

The answer is what callers are told: a probability, or a prediction in the target's unit. The
attributions of a row sum to its answer less that of the baseline, but for the error of the sum that
stands for an integral; each explanation tells this error.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, fx, nn

from modelyard.data.preprocessing import Target

_AT_ONCE = 32
"""Points of the path that are in memory at once."""


@dataclass(frozen=True)
class Attribution:
    """Of one row: ``row`` as the network's input, ``vectors`` of its embedded categories.

    ``delta`` is how far the sum of all is from ``score - baseline_score``.
    """

    row: np.ndarray
    vectors: list[np.ndarray]
    score: float
    baseline_score: float
    delta: float


class NotFinite(ArithmeticError):  # noqa: N818 - it is no fault of ours
    """A gradient is infinite or no number."""


class Explained:
    """A network behind its task's head, that can be asked why.

    Args:
        network: Of ``models.archive.read``.
        task: Of the dataset.
        target: How it was scaled, for regression.
        num_embedded: How many categories the network looks up before all else.
    """

    def __init__(
        self, network: nn.Module, task: str, target: Target | None, num_embedded: int
    ) -> None:
        assert isinstance(network, fx.GraphModule), type(network)
        self._network, self._task, self._target = network, task, target
        lookups = [
            node
            for node in network.graph.nodes
            if node.target is torch.ops.aten.embedding.default  # pyright: ignore
        ]
        self._lookups = lookups[:num_embedded]

    def answer(self, rows: Tensor, *vectors: Tensor) -> Tensor:
        """Answers [N, K] to rows [N, *input_shape].

        Args:
            rows: The network's input.
            vectors: In place of what the embedded categories' places look up, [N, dimension] each;
                none where the rows' own shall be looked up.
        """
        outputs = _Run(self._network, self._lookups, vectors).run(rows)
        if self._task == "regression":
            assert self._target is not None
            return outputs * self._target.std + self._target.mean
        return outputs.sigmoid() if self._task == "multi-label" else outputs.softmax(dim=1)

    def attribute(
        self, row: np.ndarray, baseline: np.ndarray, blank: bool, index: int, steps: int
    ) -> Attribution:
        """Explain one row's answer at ``index`` by a straight path from the baseline.

        Args:
            row: float32 [1, *input_shape].
            baseline: float32 [1, *input_shape].
            blank: The baseline has no value of any embedded category: its vectors are zero.
            index: Of the class or label; 0 for a number.
            steps: Points on the path.

        Raises:
            NotFinite: the network has no finite gradient on this path.
        """
        row_t, baseline_t = torch.from_numpy(row), torch.from_numpy(baseline)
        inputs = (row_t, *self._vectors(row_t))
        looked_up = self._vectors(baseline_t)
        start = (baseline_t, *([torch.zeros_like(v) for v in looked_up] if blank else looked_up))
        found: Any = IntegratedGradients(self.answer).attribute(
            inputs, start, target=index, n_steps=steps, internal_batch_size=_AT_ONCE
        )
        with torch.inference_mode():
            score = float(self.answer(*inputs)[0, index])
            baseline_score = float(self.answer(*start)[0, index])
        first, *others = [part[0].detach().numpy().astype(np.float64) for part in found]
        if not all(np.isfinite(part).all() for part in (first, *others)):
            raise NotFinite
        total = float(first.sum()) + sum(float(part.sum()) for part in others)
        delta = total - (score - baseline_score)
        return Attribution(first, others, score, baseline_score, delta)

    def _vectors(self, rows: Tensor) -> list[Tensor]:
        """What the embedded categories' places look up."""
        if not self._lookups:
            return []
        run = _Run(self._network, self._lookups, ())
        with torch.no_grad():
            run.run(rows)
        return run.seen


class _Run(fx.Interpreter):
    """A run of the network that notes the vectors looked up, or takes others in their place."""

    def __init__(
        self, network: fx.GraphModule, lookups: list[fx.Node], vectors: tuple[Tensor, ...]
    ) -> None:
        super().__init__(network)
        self._places = {node: place for place, node in enumerate(lookups)}
        self._given = vectors
        self.seen: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        """As ``fx.Interpreter``, but for the look-ups."""
        place = self._places.get(n)
        if place is None:
            return super().run_node(n)
        if self._given:
            return self._given[place]
        self.seen.append(super().run_node(n))
        return self.seen[-1]
