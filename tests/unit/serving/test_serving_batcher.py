"""The micro-batcher: what waits together is computed together, and nobody pays for a neighbour."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from modelyard.serving.batcher import Arrays, Batcher, BatchLimits
from modelyard.serving.failures import RequestError


def _rows(*values: float, width: int = 1) -> Arrays:
    return {"x": np.repeat(np.array(values, dtype=np.float32)[:, None], width, axis=1)}


class _Doubler:
    """Doubles its input; a negative value fails; waits for ``gate`` at the first batch."""

    def __init__(self) -> None:
        self.gate = Event()
        self.sizes: list[int] = []

    def __call__(self, inputs: Arrays) -> list[np.ndarray]:
        assert self.gate.wait(10)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise RuntimeError("negative")
        return [inputs["x"] * 2]


def test_requests_that_wait_are_computed_together_and_get_their_own_rows() -> None:
    async def scenario() -> None:
        run = _Doubler()
        batcher = Batcher(run, pool, BatchLimits(max_rows=8))
        first = batcher.submit(_rows(1))
        await asyncio.sleep(0.01)
        rest = [batcher.submit(_rows(value, value + 1)) for value in range(2, 8)]
        run.gate.set()
        assert (await first)[0].tolist() == [[2]]
        for value, future in zip(range(2, 8), rest, strict=True):
            assert (await future)[0].tolist() == [[2 * value], [2 * value + 2]]
        assert run.sizes == [1, 8, 4]

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(scenario())


def test_other_shapes_do_not_mix_and_the_oldest_goes_first() -> None:
    async def scenario() -> None:
        run = _Doubler()
        batcher = Batcher(run, pool)
        futures = [batcher.submit(_rows(value, width=width)) for value, width in ((1, 1), (2, 2))]
        futures.append(batcher.submit(_rows(3, width=1)))
        run.gate.set()
        answers = [(await future)[0].tolist() for future in futures]
        assert answers == [[[2]], [[4, 4]], [[6]]]
        assert run.sizes == [2, 1]

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(scenario())


def test_only_the_culprit_of_a_failed_batch_fails() -> None:
    async def scenario() -> None:
        run = _Doubler()
        batcher = Batcher(run, pool)
        futures = [batcher.submit(_rows(value)) for value in (1, -1, 3)]
        run.gate.set()
        assert (await futures[0])[0].tolist() == [[2]]
        with pytest.raises(RuntimeError, match="negative"):
            await futures[1]
        assert (await futures[2])[0].tolist() == [[6]]

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(scenario())


def test_callers_that_left_are_not_computed_and_a_full_queue_turns_away() -> None:
    async def scenario() -> None:
        run = _Doubler()
        batcher = Batcher(run, pool, BatchLimits(max_queued_rows=3))
        first = batcher.submit(_rows(1))
        await asyncio.sleep(0.01)
        gone = batcher.submit(_rows(2, 3))
        stays = batcher.submit(_rows(4))
        with pytest.raises(RequestError) as caught:
            batcher.submit(_rows(5))
        assert caught.value.status == 429
        gone.cancel()
        run.gate.set()
        await first
        assert (await stays)[0].tolist() == [[8]]
        assert run.sizes == [1, 1]
        assert (await batcher.submit(_rows(6)))[0].tolist() == [[12]]

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(scenario())
