"""Learned vectors for categories, in front of any network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Places that train may never hold: a missing value and an unknown one. What nothing was learned
# of begins as a zero vector, which says nothing.
_UNSEEN = 2


class Embedded(nn.Module):
    """Replaces the last columns, which hold places of categories, by a vector each.

    Maps float32 [N, D] as ``network`` maps [N, D - categories + sum of dimensions].
    """

    def __init__(self, network: nn.Module, embeddings: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.network = network
        self.embeddings = nn.ModuleList(nn.Embedding(*size) for size in embeddings)
        for embedding in self.embeddings:
            with torch.no_grad():
                embedding.weight[:_UNSEEN] = 0  # pyright: ignore[reportIndexIssue]

    def forward(self, rows_ND: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Logits of a batch."""
        num_plain = rows_ND.shape[1] - len(self.embeddings)
        places_NE = rows_ND[:, num_plain:].long()  # noqa: N806
        vectors = [table(places_NE[:, i]) for i, table in enumerate(self.embeddings)]
        return self.network(torch.cat([rows_ND[:, :num_plain], *vectors], dim=1))


def widened(input_shape: tuple[int, ...], embeddings: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The shape of a row once its embedded categories are vectors."""
    if not embeddings:
        return input_shape
    (columns,) = input_shape
    return (columns - len(embeddings) + sum(dimension for _, dimension in embeddings),)
