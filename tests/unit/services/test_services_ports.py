"""The choice of ports."""

import socket
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
