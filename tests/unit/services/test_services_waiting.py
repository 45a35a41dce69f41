"""What the end of a service means: whether starting it again may well help."""

from pathlib import Path

import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.services import ports
from modelyard.services.records import Entry
from modelyard.services.service import Service
from modelyard.services.waiting import Lost, wait


@pytest.mark.parametrize(
    ("said", "lost"), [("Port 4200 is already in use.", True), ("out of memory", False)]
)
def test_who_took_the_port_may_have_let_go_of_it(tmp_path: Path, said: str, lost: bool) -> None:
    log = tmp_path / "prefect.log"
    log.write_text(f"starting\n{said}\n")
    entry = Entry("no-such-token", ("prefect",), log, port=ports.choose([0]), pid=2**22 - 1)
    service = Service("prefect", None, None, entry, started=True)
    with pytest.raises(ServiceUnavailable, match="ended while starting") as caught:
        wait([service], timeout=1)
    assert isinstance(caught.value, Lost) == lost
