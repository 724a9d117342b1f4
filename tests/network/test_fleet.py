"""Thirty daemons, a third of them killed; `python -m tests.network.fleet` measures it."""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

from tests.network.fleet import Fleet, open_fleet
from tests.support import processes

_ATTEMPTS = 3
"""A client gives up after ten seconds, which are few on a machine that is busy otherwise; the measured run has one."""


def _signer(fleet: Fleet, generator: random.Random) -> str:
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(AssertionError):
            return fleet.run(generator)
    return fleet.run(generator)


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_with_a_third_of_thirty_nodes_killed_a_client_still_finds_who_lends(tmp_path: Path) -> None:
    """Gone are the node that all others began at and all that lend but one: the directory alone leads to that."""
    generator = random.Random()
    with open_fleet(tmp_path, fork=True) as fleet:
        fleet.gather(30, 3)
        everyone = list(fleet.members)
        fleet.lose(10, generator)
        killed = [member for member in everyone if member not in fleet.members]
        (left,) = [member.peer for member in fleet.members if member.lends]
        signer = _signer(fleet, generator)

        assert len(everyone) == 30
        assert processes.wait_until(lambda: not any(processes.alive(member.pid) for member in killed))
        assert len(killed) == 10
        assert all(processes.alive(member.pid) for member in fleet.members)
        assert signer == left
