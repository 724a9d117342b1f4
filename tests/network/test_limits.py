"""What a node allows strangers, and what it counts: real daemons over libp2p."""

from __future__ import annotations

import re

import pytest

from tests.network.conftest import HELLO, LABORATORY, Starter, address_of
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def frugal(start: Starter) -> Daemon:
    """A node that takes no more from one client than one small upload, and logs much."""
    allowed = ("--set", "clients.upload_bytes_per_hour=1000")
    return start("frugal", "--lend", *allowed, "--set", "daemon.log_level=debug")


@pytest.fixture
def used_up(frugal: Daemon, client: Daemon) -> Daemon:
    """The same node, when a client has uploaded all that it may, now or for a test before."""
    ran = client.plasm(
        "run", "--peer", address_of(frugal), *LABORATORY, str(HELLO), stdin=bytes(1000), check=False
    )
    said = ran.stderr.decode()
    assert ran.returncode == 0 or "has used up the bytes to upload" in said, said
    return frugal


def counted(daemon: Daemon) -> dict[str, float]:
    page = daemon.plasm("metrics").stdout.decode()
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def test_a_client_over_its_quota_is_refused_and_the_nodes_own_user_is_not(
    used_up: Daemon, client: Daemon
) -> None:
    """The second client has a fresh key, which does not help: it comes from where the first one was."""
    pinned = ("run", "--peer", address_of(used_up), *LABORATORY, str(HELLO))

    second = client.plasm(*pinned, stdin=b"again", check=False)
    own = used_up.plasm("submit", str(HELLO), stdin=b"abc", check=False)

    assert second.returncode == 1
    assert "has used up the bytes to upload" in second.stderr.decode()
    assert own.returncode == 0, own.stderr.decode()


def test_a_nodes_metrics_name_no_client(used_up: Daemon, client: Daemon) -> None:
    used_up.plasm("result", used_up.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip())
    before = counted(used_up)
    client.plasm("run", "--peer", address_of(used_up), *LABORATORY, str(HELLO), check=False)
    after = counted(used_up)

    def more(series: str) -> float:
        return after.get(f"plasm_{series}", 0) - before.get(f"plasm_{series}", 0)

    assert more('jobs_refused_total{reason="policy"}') == 1
    assert more('jobs_accepted_total{route="here"}') == 0
    assert after['plasm_jobs_accepted_total{route="here"}'] >= 1
    assert after['plasm_jobs_ended_total{outcome="exited"}'] >= 1
    assert after["plasm_received_bytes_total"] >= 1000
    assert more('connections_total{direction="inbound"}') == 1
    assert after['plasm_connections_closed_total{direction="inbound"}'] >= 1
    assert after["plasm_jobs_running"] == 0
    assert "Traceback" not in used_up.log.read_text()
    assert not re.search(r"12D3KooW|127\.0\.0\.1|/ip4/", "".join(after))


def test_without_a_daemon_no_job_is_counted(client: Daemon) -> None:
    asked = client.plasm("metrics", check=False)

    assert asked.returncode == 5
    assert b"plasmd" in asked.stderr
