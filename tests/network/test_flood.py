"""Many strangers at a daemon's libp2p port, in short; `python -m tests.network.flood` has hundreds of them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'plasm[libp2p]'")

import trio

from tests.network.conftest import NETWORKED
from tests.network.flood import Flood
from tests.support.daemon import Daemon


def test_many_strangers_leave_a_daemon_as_it_was_and_serving(tmp_path: Path, client: Daemon) -> None:
    """Jobs are run in the midst of it and after it; what the strangers held is given back when they go."""
    (tmp_path / "node").mkdir()
    with Daemon(tmp_path / "node", *NETWORKED, "--lend") as daemon:
        daemon.start(until=" ready peer=")
        rows = {row.stage: row for row in trio.run(Flood(daemon, client, patient=False).run, 24, 12, 25, 20)}
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
