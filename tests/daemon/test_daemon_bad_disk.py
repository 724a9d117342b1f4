"""A daemon whose disk is full, or read-only: it says so, and loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.client import Client, Submission
from plasm_core.errors import RefusedError, WaitTimeoutError
from plasm_core.protocol.messages import Offered, Refused
from tests.daemon.conftest import HELLO
from tests.daemon.store.volume import SmallDisk, read_only, small_disk
from tests.daemon.test_operation import follow, spinning
from tests.support.conversing import calling
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.wat import writing

SPARE = ("--set", "storage.spare_bytes=1048576", "--set", "storage.output_reserve_bytes=65536")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 8 MiB, where the daemon's state is."""
    with small_disk(tmp_path / "state", 8 << 20) as made:
        yield made


@pytest.fixture
def daemon(tmp_path: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon on that disk."""
    with Daemon(tmp_path, *SPARE) as made:
        made.start()
        monkeypatch.setenv("PLASM_SOCKET", str(made.socket))
        yield made


def test_a_full_disk_is_reported_and_accepted_jobs_end(daemon: Daemon, disk: SmallDisk) -> None:
    client = Client()
    ended = client.run(HELLO.read_bytes(), stdin=b"before", timeout_s=60)
    running = follow(daemon, spinning(500_000_000))
    disk.fill()
    with calling(daemon.socket) as caller:
        small = Submission.of(HELLO.read_bytes())
        caller.submit(small)
        caller.heard.append(caller.receive())
        with contextlib.suppress(OSError, EOFError):
            caller.upload(small)
        while not isinstance(refused := caller.receive(), Refused):
            pass
    result = client.result(running, timeout_s=60)
    again = client.result(ended.handle, timeout_s=60)
    daemon.kill()
    daemon.start()
    after = client.result(running, timeout_s=60)
    disk.clear()
    later = client.run(HELLO.read_bytes(), stdin=b"after", timeout_s=60)

    assert (refused.reason, bool(refused.retry_after_s)) == ("storage_full", True)
    assert result.receipt.result.outcome.kind == "out_of_gas"
    assert (again.envelope, again.stdout) == (ended.envelope, b"erofeb")
    assert after.envelope == result.envelope
    assert later.stdout == b"retfa"
    assert "Traceback" not in daemon.log.read_text()


def test_a_full_disk_is_named_at_the_first_refusal_and_by_the_doctor(
    daemon: Daemon, disk: SmallDisk, tmp_path: Path
) -> None:
    """`the node has no room for this now`, after two minutes of silence, was all that its user learned."""
    told: list[str] = []
    disk.fill()

    with pytest.raises(WaitTimeoutError, match="the node's disk is full"):
        Client().submit(
            HELLO.read_bytes(),
            stdin=os.urandom(1 << 20),
            timeout_s=5,
            watch=lambda phase, _: told.append(phase),
        )
    checks = json.loads(daemon.plasm("doctor", "--json", check=False).stdout)
    disk.clear()

    assert "the node's disk is full, asking again" in told
    found = {check["name"]: check for check in checks}["daemon's state"]
    assert (found["status"], found["found"]) == ("failure", f"{daemon.state}: the disk is full")
    assert found["hint"].startswith("free some space")


def test_output_that_the_disk_cannot_take_ends_the_job_as_the_nodes_fault(
    daemon: Daemon, disk: SmallDisk
) -> None:
    job = Submission.of(writing(bytes(60_000), times=300), attempts=1)

    result = Client().run(job, timeout_s=100)
    small = Client().run(HELLO.read_bytes(), stdin=b"after", timeout_s=60)

    assert result.receipt.result.outcome.kind == "system_error"
    assert small.stdout == b"retfa"


def test_an_upload_larger_than_the_disk_is_refused(daemon: Daemon, disk: SmallDisk) -> None:
    job = Submission.of(HELLO.read_bytes(), stdin=bytes(20 << 20))

    with calling(daemon.socket) as caller:
        caller.submit(job)
        caller.expect(Offered)
        with contextlib.suppress(OSError, EOFError):
            caller.upload(job)
        refused = caller.refusal()

    assert refused.reason == "storage_full"
    assert Client().run(HELLO.read_bytes(), stdin=b"ok", timeout_s=60).stdout == b"ko"
    assert disk.free_bytes > 2 << 20


def test_a_state_directory_that_became_read_only_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        ended = Client().run(HELLO.read_bytes(), stdin=b"before", timeout_s=60)
        with read_only(daemon.state), pytest.raises(RefusedError) as caught:
            # Small input goes into the database, which is open and can be written to still.
            Client().submit(HELLO.read_bytes(), stdin=os.urandom(100_000), timeout_s=60)
        again = Client().result(ended.handle, timeout_s=60)
        later = Client().run(HELLO.read_bytes(), stdin=b"after", timeout_s=60)

    assert caught.value.reason == "storage_failed"
    assert again.envelope == ended.envelope
    assert later.stdout == b"retfa"


def test_a_daemon_does_not_start_on_a_read_only_state_directory(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.state.mkdir(parents=True)
        with read_only(daemon.state):
            done = subprocess.run(
                [sys.executable, "-m", "plasm_core.daemon"],
                env=daemon.environ,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Read-only file system" in done.stderr
    assert str(daemon.state) in done.stderr
