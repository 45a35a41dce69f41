"""The choice of ports."""

import socket
import threading
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from modelyard.services import ports

Listener = Callable[[int], socket.socket]


def test_a_port_is_free_until_somebody_listens(listener: Listener) -> None:
    port = ports.choose([])
    assert ports.is_free(port)

    listener(port)

    assert not ports.is_free(port)


def test_a_port_that_is_let_go_is_awaited(listener: Listener) -> None:
    opened = listener(0)
    port = opened.getsockname()[1]
    threading.Timer(0.1, opened.close).start()

    assert not ports.is_free(port)
    assert ports.await_free(port, timeout=10)
    assert not ports.await_free(listener(0).getsockname()[1], timeout=0.05)


def test_the_first_free_wish_is_taken(listener: Listener) -> None:
    busy = listener(0).getsockname()[1]
    first, second = ports.choose([]), ports.choose([])

    assert ports.choose([busy, first, second]) == first
    assert ports.choose([busy]) not in (busy, 0)


@given(number=st.integers(2, 20))
def test_one_call_after_the_other_gives_distinct_ports(number: int) -> None:
    chosen: list[int] = []
    for _ in range(number):
        chosen.append(ports.choose(chosen[:1], chosen))

    assert len(set(chosen)) == number
