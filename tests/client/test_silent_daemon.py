"""A daemon of this machine that takes connections and says nothing: its user's commands wait for it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core.client import Submission, job_control, open_client
from plasm_core.client import dial as dialling
from plasm_core.client.dial import DaemonSilentError
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.output import Buffer
from plasm_core.errors import PlasmError, WaitTimeoutError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol import JOB_PROTOCOL
from plasm_core.protocol.frames import control_frame
from plasm_core.protocol.messages import Attached, Heartbeat, Hello, Status
from plasm_core.records import Handle, PeerId
from plasm_core.records.job import JobState
from plasm_transport_local.transport import LocalNetwork, LocalTransport
from tests.client.test_failover import Nodes
from tests.support.daemon import Daemon
from tests.support.sweeping import HELLO

AGAIN = "the daemon does not answer, asking again"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as started:
        started.start()
        yield started


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a daemon for silent sooner: its silence lasts until the client has noted it."""
    monkeypatch.setattr(dialling, "DIAL_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_run_continues_once_its_daemon_answers(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that was stopped, or on a machine that slept, ended each `run` after 5 s."""
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
    assert daemon.process is not None
    process, told = daemon.process, []
    os.kill(process.pid, signal.SIGSTOP)

    def watch(phase: str, _status: Status | None) -> None:
        told.append(phase)
        if phase == AGAIN:
            os.kill(process.pid, signal.SIGCONT)

    async def main() -> bytes:
        async with open_client() as client:
            with Submission.of(HELLO.read_bytes(), stdin=b"abc") as job:
                return (await client.run(job, timeout_s=60, watch=watch)).stdout

    assert trio.run(main) == b"cba"
    assert AGAIN in told


@pytest.mark.usefixtures("impatient")
def test_a_silent_daemon_is_distinguished_from_a_missing_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGSTOP)

    async def main() -> None:
        async with open_client() as client, client.dialler.converse(None):
            raise AssertionError("it answered")

    with pytest.raises(
        DaemonSilentError, match=r"the daemon does not answer: .*plasmd\.sock: no answer"
    ) as caught:
        trio.run(main)
    assert caught.value.hint is not None


@pytest.mark.trio
@pytest.mark.parametrize("wall_time_s", [10, 3600])
async def test_a_daemon_that_stays_silent_is_asked_again_for_the_jobs_own_time(
    autojump_clock: trio.testing.MockClock, wall_time_s: int
) -> None:
    silence = DaemonSilentError("the daemon does not answer: it is stopped")
    began = trio.current_time()
    job = Submission.of(b"module", wall_time_s=wall_time_s)
    with pytest.raises(PlasmError, match="it is stopped"):
        await persist(_Silent(silence), FailoverState(job), _never, None, "the job's result")

    assert max(60, wall_time_s) - 20 <= trio.current_time() - began <= max(60, wall_time_s) + 20


class _Silent(Nodes):
    """A daemon that takes connections and says nothing."""

    def __init__(self, silence: PlasmError) -> None:
        super().__init__(fails_over=False)
        self._silence = silence

    def converse(self, *_args: object, **_options: object):  # type: ignore[no-untyped-def]
        raise self._silence


async def _never(*_: object) -> None:
    raise AssertionError


@pytest.mark.trio
async def test_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    """A stopped daemon accepts no connection: a client that came when its backlog was full took it for another program."""
    path = Path(os.path.relpath(tmp_path / "s"))
    kept = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        while True:
            other = socket.socket(socket.AF_UNIX)
            kept.append(other)
            other.setblocking(False)
            try:
                other.connect(str(path))
            except BlockingIOError:
                break

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                kept.append(connection)
                said = connection.recv(100)
                if said:  # none of those that fill the backlog
                    connection.sendall(said)
                    return

        for other in kept:
            other.setblocking(True)
        async with trio.open_nursery() as nursery:
            dialled = []

            async def dial() -> None:
                stream = await LocalNetwork(()).dial(f"unix:{path}", JOB_PROTOCOL)
                dialled.append(stream)
                await stream.aclose()

            nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked()
            assert not dialled
            for other in kept:
                other.close()
            with trio.fail_after(60):
                await trio.to_thread.run_sync(serve)
        assert dialled
        for other in kept:
            other.close()


@pytest.mark.parametrize("answers", [False, True])
def test_a_daemon_that_is_only_alive_does_not_hold_who_asks_for_the_output_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """`plasm logs` waited for ever, as often as a heartbeat came."""
    monkeypatch.setattr(job_control, "_PEEK_S", 0.5)
    path = str(tmp_path / "s")
    peer = PeerId(public_key=bytes([1]) * 32)
    handle = Handle.new("ab" * 32, peer)
    running = Status(state=JobState.RUNNING, attempt=1, stdout_bytes=5, stderr_bytes=0)

    async def say_nothing(stream: Stream) -> None:
        await stream.send_all(control_frame(Hello(peer=str(peer), agent="x")))
        if answers:
            await stream.receive_some()
            await stream.send_all(control_frame(Attached(job_id=handle.job_id, status=running)))
        while True:
            await stream.send_all(control_frame(Heartbeat()))
            await trio.sleep(0.05)

    async def main() -> None:
        serving = LocalTransport(socket=path).open(None, {JOB_PROTOCOL: say_nothing})
        async with serving, open_client() as client:
            with pytest.raises(WaitTimeoutError, match="without a word still waiting for the job's output"):
                await client.peek(handle, Buffer(100), timeout_s=None)

    monkeypatch.setenv("PLASM_SOCKET", path)
    trio.run(main)
