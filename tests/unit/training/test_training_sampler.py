"""Every row once, in the same global order for any number of workers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.training.sampler import (
    MIN_ROWS,
    epoch_order,
    num_steps,
    share,
    validation_shares,
)


@settings(deadline=None)
@given(
    num_rows=st.integers(1, 200),
    per_worker=st.integers(1, 9),
    size=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(1, 50),
)
def test_workers_share_each_global_batch(
    num_rows: int, per_worker: int, size: int, seed: int, epoch: int
) -> None:
    batch_size = per_worker * size
    order = epoch_order(num_rows, seed, epoch)
    assert sorted(order) == list(range(num_rows))
    seen: list[int] = []
    for step in range(num_steps(num_rows, batch_size)):
        shares = [share(order, step, batch_size, rank, size) for rank in range(size)]
        own = [int(row) for part in shares for row in part.rows[part.weights == 1]]
        assert sorted(own) == sorted(order[step * batch_size : (step + 1) * batch_size])
        assert all(len(part.rows) == len(part.weights) >= MIN_ROWS for part in shares)
        assert {part.num_global for part in shares} == {len(own)}
        seen += own
    assert sorted(seen) == list(range(num_rows))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(1000, 3, 1)
    assert np.array_equal(first, epoch_order(1000, 3, 1))
    assert not np.array_equal(first, epoch_order(1000, 3, 2))
    assert not np.array_equal(first, epoch_order(1000, 4, 1))


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 8))
def test_validation_counts_each_row_once(num_rows: int, batch_rows: int, size: int) -> None:
    batches = [
        batch
        for rank in range(size)
        for batch in validation_shares(num_rows, batch_rows, rank, size)
    ]
    assert all(0 < len(batch) <= batch_rows for batch in batches)
    assert sorted(int(row) for batch in batches for row in batch) == list(range(num_rows))
