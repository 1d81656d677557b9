"""What goes on in a mount beside the requests of programs."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

pytest.importorskip("pyfuse3")

from encfs.fuse.serve import aside


def test_a_fault_beside_the_requests_does_not_end_the_mount(caplog: pytest.LogCaptureFixture) -> None:
    """It is a log line with its traceback; whatever else runs goes on."""
    went_on = []

    async def fails(what: str) -> None:
        raise ExceptionGroup(what, [RuntimeError("a fault of ours")])

    async def goes_on() -> None:
        await trio.testing.wait_all_tasks_blocked()
        went_on.append(True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aside, fails, "logind")
            nursery.start_soon(aside, goes_on)

    with caplog.at_level(logging.ERROR):
        trio.run(main)
    assert went_on == [True]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "beside the requests" in record.message
