"""Many jobs by one client over three nodes that answer few questions: `python -m tests.network.sweep` has thousands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio

from tests.network.conftest import NETWORKED
from tests.network.sweep import by_client, by_gateway, small_network
from tests.support.daemon import Daemon

JOBS = 60
IN_FLIGHT = 8
STRICT = "tests.support.strict_node"
"""Answers 96 requests of a peer, and 2 a second from then on: 60 searches would take more than ten times that."""


@pytest.fixture(scope="module")
def strict_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address to begin at of three nodes that lend and limit who asks often."""
    with small_network(tmp_path_factory.mktemp("strict"), program=STRICT) as bootstrap:
        yield bootstrap


def test_one_client_has_many_jobs_done_though_nodes_limit_who_asks_often(strict_network: str) -> None:
    ended = trio.run(by_client, strict_network, JOBS, IN_FLIGHT)

    assert [job.problem for job in ended if job.problem] == []
    assert len(ended) == JOBS
    assert sum(job.attempts for job in ended) < 1.5 * JOBS


def test_one_gateway_has_many_jobs_done_though_nodes_limit_who_asks_often(
    strict_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--bootstrap", strict_network, "--set", "gateway.enabled=true")
    with Daemon(tmp_path, *NETWORKED, *settings) as gateway:
        gateway.start(until=" ready peer=")
        monkeypatch.setenv("PLASM_SOCKET", str(gateway.socket))
        ended = trio.run(by_gateway, gateway, JOBS, IN_FLIGHT)
        handed_on = gateway.log.read_text().count("job handed on ")

    assert [job.problem for job in ended if job.problem] == []
    assert len(ended) == JOBS
    assert JOBS <= handed_on < 1.5 * JOBS
