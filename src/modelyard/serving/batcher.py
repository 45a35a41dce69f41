"""Micro-batches: what arrives while the model computes is computed together next, by shape.

A lone request waits for nobody: an idle batcher starts at the loop's next turn (or after
``max_wait_s``). Under load a batch's deadline is the end of the one before it. Inputs are validated
before they get here, so a bad request cannot fail its neighbours. A batcher belongs to one version
of a model: what is queued is answered by the model it was queued for.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from modelyard.serving.failures import busy, unavailable

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], list[np.ndarray]]


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch gets, and how much may wait.

    ``max_rows`` in a batch, ``max_wait_s`` for company when idle; beyond ``max_queued_rows``
    requests are turned away, and those that have no answer after ``deadline_s`` are given up.
    From 8 rows on a row of a small network costs the same; only the memory grows.
    """

    max_rows: int = 32
    max_wait_s: float = 0.0
    max_queued_rows: int = 4096
    deadline_s: float = 10.0


@dataclass(eq=False)
class _Item:
    inputs: Arrays
    num_rows: int
    future: "asyncio.Future[list[np.ndarray]]"
    due: float


@dataclass(eq=False)
class Batcher:
    """Queues validated inputs and runs them in ``pool``; to be used from one event loop.

    Args:
        run: Inputs by name [rows, ...] -> outputs, each [rows, ...]; called in the pool, never
            twice at once.
        pool: Where ``run`` runs.
        limits: See there.
        observe: Told the rows of each batch.
    """

    run: Run
    pool: Executor
    limits: BatchLimits = BatchLimits()
    observe: Callable[[int], None] = lambda _: None
    _queues: dict[tuple[tuple[int, ...], ...], list[_Item]] = field(default_factory=dict)
    _queued_rows: int = 0
    _running: list[_Item] = field(default_factory=list)
    _busy: bool = False
    _deadline: asyncio.TimerHandle | None = None

    def submit(self, inputs: Arrays) -> "asyncio.Future[list[np.ndarray]]":
        """Queue inputs that share their number of rows.

        Returns:
            A future of the outputs for just these rows, or of a RequestError, 503, where they took
            longer than ``deadline_s``.

        Raises:
            RequestError: 429, too much is queued.
        """
        num_rows = len(next(iter(inputs.values())))
        if self._queued_rows and self._queued_rows + num_rows > self.limits.max_queued_rows:
            raise busy()
        loop = asyncio.get_running_loop()
        item = _Item(inputs, num_rows, loop.create_future(), loop.time() + self.limits.deadline_s)
        shapes = tuple(array.shape[1:] for array in inputs.values())
        self._queues.setdefault(shapes, []).append(item)
        self._queued_rows += num_rows
        if self._deadline is None:
            self._deadline = loop.call_at(item.due, self._give_up, loop)
        if not self._busy:
            self._busy = True
            if self.limits.max_wait_s:
                loop.call_later(self.limits.max_wait_s, self._start, loop)
            else:
                loop.call_soon(self._start, loop)
        return item.future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        items = self._running = self._take()
        if not items:
            self._busy = False
            return
        self.observe(sum(item.num_rows for item in items))
        work = loop.run_in_executor(self.pool, _run_batch, self.run, items)
        work.add_done_callback(lambda done: self._deliver(loop, items, done))

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer those that are overdue, and wait for the next that will be; one timer for all."""
        now, seconds = loop.time(), self.limits.deadline_s
        waiting: list[float] = []
        for item in itertools.chain(self._running, *self._queues.values()):
            if item.future.done():
                continue
            if item.due > now:
                waiting.append(item.due)
            else:
                message = f"the model gave no answer within {seconds:g} s; try again later"
                item.future.set_exception(unavailable(message))
        self._deadline = loop.call_at(min(waiting), self._give_up, loop) if waiting else None

    def _take(self) -> list[_Item]:
        """The next batch, of the shape that has waited longest; callers who left are dropped."""
        while self._queues:
            shapes = next(iter(self._queues))
            queue = self._queues.pop(shapes)
            size, items = 0, []
            while queue and (not items or size + queue[0].num_rows <= self.limits.max_rows):
                item = queue.pop(0)
                self._queued_rows -= item.num_rows
                if not item.future.done():
                    items.append(item)
                    size += item.num_rows
            if queue:
                self._queues[shapes] = queue
            if items:
                return items
        return []

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        items: list[_Item],
        done: "asyncio.Future[list[list[np.ndarray] | Exception]]",
    ) -> None:
        failure = done.exception()
        answers = [failure] * len(items) if failure else done.result()
        for item, answer in zip(items, answers, strict=True):
            if item.future.done():
                continue
            if isinstance(answer, BaseException):
                item.future.set_exception(answer)
            else:
                item.future.set_result(answer)
        self._start(loop)


def _run_batch(run: Run, items: list[_Item]) -> list[list[np.ndarray] | Exception]:
    """Run items as one batch; if that fails, each alone, so that only the culprit fails."""
    if len(items) == 1:
        return [_run_alone(run, items[0])]
    names = list(items[0].inputs)
    try:
        batch = {name: np.concatenate([item.inputs[name] for item in items]) for name in names}
        outputs = run(batch)
    except Exception:  # whatever the runtime raises; the single runs below report it
        return [_run_alone(run, item) for item in items]
    answers: list[list[np.ndarray] | Exception] = []
    start = 0
    for item in items:
        answers.append([output[start : start + item.num_rows] for output in outputs])
        start += item.num_rows
    return answers


def _run_alone(run: Run, item: _Item) -> list[np.ndarray] | Exception:
    try:
        return run(item.inputs)
    except Exception as error:  # see above
        return error
