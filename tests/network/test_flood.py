"""Many strangers at a daemon's libp2p port, in short; `python -m tests.network.flood` has hundreds of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio

from tests.network.conftest import NETWORKED
from tests.network.flood import OVER_QUIC, Flood
from tests.support.daemon import Daemon


@pytest.mark.parametrize("carrier", ["tcp", "quic"])
def test_many_strangers_leave_a_daemon_as_it_was_and_serving(
    tmp_path: Path, client: Daemon, carrier: str
) -> None:
    """Jobs are run in the midst of it and after it; what the strangers held is given back when they go."""
    if carrier == "quic" and sys.version_info < (3, 11):
        pytest.skip("the aioquic that is needed needs Python 3.11")
    (tmp_path / "node").mkdir()
    listening = (*NETWORKED, *(OVER_QUIC if carrier == "quic" else ()))
    with Daemon(tmp_path / "node", *listening, "--lend") as daemon:
        daemon.start(until=" ready peer=")
        rows = {row.stage: row for row in trio.run(Flood(daemon, client, patient=False).run, 12, 6, 25, 20)}
        log = daemon.log.read_text()
        code = daemon.terminate()
    first, last = rows["at first"], rows["after one more job"]

    assert rows["with 25 peers and 20 who say nothing"].connections >= 25
    assert last.connections == 0
    assert last.tasks <= first.tasks + 2
    assert last.descriptors <= first.descriptors + 12  # workers wait for jobs: now more of them, now fewer
    assert last.memory_kib <= first.memory_kib + (16 << 10)
    assert "Traceback" not in log
    assert code == 0
