"""A daemon as its operator knows it: signals, the service manager, logs, time limits and failing workers."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from plasm_core.client import Client, JobResult, Submission
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import Offered, State
from plasm_core.records import Handle, Limits
from tests.daemon.conftest import HELLO
from tests.support import processes
from tests.support.conversing import calling
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.wat import FOREVER, writing

PLENTY = 10**15


def spinning(gas: int = PLENTY, *, attempts: int = 1) -> Submission:
    """A job that writes a word and runs until its gas ends."""
    limits = Limits(gas=gas, memory_bytes=1 << 20, output_bytes=1 << 20)
    return Submission.of(writing(b"begun", then=FOREVER), limits=limits, attempts=attempts, wall_time_s=600)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    assert processes.wait_until(condition, timeout_s=DEADLINE_S), what


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A daemon's home, with a configuration file."""
    (tmp_path / "config" / "plasm").mkdir(parents=True)
    return tmp_path


def configure(home: Path, text: str) -> None:
    """Write a daemon's configuration file."""
    (home / "config" / "plasm" / "plasm.toml").write_text(text)


@pytest.fixture
def started(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon of the test's own, which the library finds."""
    made: list[Daemon] = []

    def start(*settings: str, environ: dict[str, str] | None = None) -> Daemon:
        arguments = [item for setting in settings for item in ("--set", setting)]
        daemon = Daemon(home, *arguments, environ=environ)
        made.append(daemon)
        daemon.start()
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        return daemon

    yield start
    for daemon in made:
        daemon.__exit__()


Started = Callable[..., Daemon]


def follow(daemon: Daemon, job: Submission) -> Handle:
    """Hand a job in and wait until it has written something."""
    with calling(daemon.socket) as caller:
        handle = caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)
        caller.consume(1)
    return handle


def following(handle: Handle) -> tuple[threading.Thread, list[JobResult]]:
    """Start a client that waits for a job's result. It has been told where the job stands."""
    told, results = threading.Event(), list[JobResult]()

    def work() -> None:
        results.append(Client().result(handle, timeout_s=100, watch=lambda *_: told.set()))

    thread = threading.Thread(target=work)
    thread.start()
    assert told.wait(DEADLINE_S)
    return thread, results


def busiest(pids: list[int]) -> int:
    """Return the process that has used the processor most: the one that runs a job."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    return max(pids, key=ticks)


def test_a_job_that_runs_when_the_daemon_ends_is_put_back_and_its_follower_gets_the_result(
    started: Started,
) -> None:
    daemon = started("daemon.shutdown_s=0")
    handle = follow(daemon, spinning(attempts=1))
    follower, results = following(handle)
    children = processes.descendants(daemon.process.pid) if daemon.process else set()
    began = time.monotonic()
    code = daemon.terminate()
    took_s = time.monotonic() - began
    left = [pid for pid in children if processes.alive(pid)]
    daemon.start()
    until(lambda: Client().status(handle).stdout_bytes == 5, "the job does not run again")
    status = Client().status(handle)
    Client().cancel(handle)
    follower.join(DEADLINE_S)

    assert code == 0
    assert took_s < 15
    assert not left
    assert "Traceback" not in daemon.log.read_text()
    assert [result.receipt.result.outcome.kind for result in results] == ["cancelled"]
    assert results[0].stdout == b"begun"
    assert (status.state, status.attempt) == ("RUNNING", 2)


def test_a_job_that_ends_before_its_deadline_is_not_killed(started: Started) -> None:
    daemon = started("daemon.shutdown_s=60")
    handle = follow(daemon, spinning(600_000_000))

    assert daemon.terminate() == 0

    daemon.start()
    status = Client().status(handle)
    assert (status.state, status.attempt) == ("EXECUTOR_ERROR", 1)


def test_an_ending_daemon_takes_no_more_and_says_when_to_come_back(started: Started) -> None:
    daemon = started("daemon.shutdown_s=600")
    handle = follow(daemon, spinning())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: "waiting for jobs" in daemon.log.read_text(), "the daemon does not end")
    with calling(daemon.socket) as caller:
        caller.submit(spinning())
        refused = caller.refusal()
    Client().cancel(handle)

    assert (refused.reason, refused.retry_after_s) == ("shutting_down", 10)
    assert daemon.process.wait(DEADLINE_S) == 0


def test_sighup_reads_limits_and_log_level_and_a_broken_file_changes_nothing(
    started: Started, home: Path
) -> None:
    configure(home, '[daemon]\nlog_level = "info"\n[limits]\nwall_time_s = 600\n')
    daemon = started()
    assert daemon.process is not None
    hang_up = daemon.process.send_signal

    def refusal() -> str | None:
        with calling(daemon.socket) as caller:
            caller.submit(spinning())
            said = caller.receive()
            return None if isinstance(said, Offered) else str(getattr(said, "message", said))

    before = refusal()
    configure(home, '[daemon]\nlog_level = "debug"\n[limits]\nwall_time_s = 10\n')
    hang_up(signal.SIGHUP)
    until(lambda: "configuration reloaded" in daemon.log.read_text(), "not reloaded")
    after = refusal()
    until(lambda: " debug " in daemon.log.read_text(), "the log level is as it was")
    configure(home, "[[[")
    hang_up(signal.SIGHUP)
    until(lambda: "configuration not reloaded" in daemon.log.read_text(), "not looked at")

    assert before is None
    assert after == "the limit wall=600s is more than the 10s allowed here"
    assert refusal() == after
    assert "plasm.toml is not TOML" in daemon.log.read_text()


def test_the_service_manager_is_kept_informed(started: Started, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = "\0plasm-test-" + os.urandom(8).hex()
        manager.bind(address)
        manager.settimeout(DEADLINE_S)
        environ = {"NOTIFY_SOCKET": "@" + address[1:], "WATCHDOG_USEC": "400000"}
        daemon = started("daemon.shutdown_s=0", environ=environ)
        told: list[str] = []

        def hear(wanted: str) -> None:
            while not any(wanted in line for line in told):
                told.extend(manager.recv(4096).decode().splitlines())

        hear("READY=1")
        hear("STATUS=serving: 0 running, 0 waiting, 0 uploading")
        handle = follow(daemon, spinning())
        hear("STATUS=serving: 1 running")
        told.clear()
        for _ in range(3):
            told.clear()
            hear("WATCHDOG=1")
        Client().cancel(handle)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")

    assert daemon.process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 0, "the configuration is valid"),
        (("--set", "queue.jobs=0"), 3, "queue.jobs"),
        (("--runtime", "absent"), 4, "absent"),
        (("--set", "transport.local.mode=999"), 3, "transport.local.mode"),
    ],
)
def test_a_configuration_is_checked(home: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    with Daemon(home) as daemon:
        done = subprocess.run(
            [sys.executable, "-m", "plasm_core.daemon", "--check", *arguments],
            env=daemon.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not daemon.socket.exists()


def test_a_json_log_parses_and_holds_no_secret(started: Started) -> None:
    daemon = started("daemon.log_format=json", "daemon.log_level=debug", "limits.wall_time_s=600")
    secret = os.urandom(16).hex()
    job = Submission.of(HELLO.read_bytes(), stdin=secret.encode(), args=[], env={"KEY": secret})
    result = Client().run(job, timeout_s=60)
    handle = result.handle
    with calling(daemon.socket) as caller:
        caller.submit(Submission.of(HELLO.read_bytes(), wall_time_s=601))
        caller.refusal()
    with calling(daemon.socket) as caller:
        caller.sock.sendall(b"\xff" * 100)
    daemon.terminate()

    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    events = {line["event"] for line in lines}
    assert {"ready", "job accepted", "job ended", "refused", "ended"} <= events
    ended = next(line for line in lines if line["event"] == "job ended")
    assert (ended["job"], ended["state"], ended["level"]) == (handle.job_id, "COMPLETE", "info")
    whole = daemon.log.read_text()
    encoded = base64.urlsafe_b64encode(handle.secret).decode().rstrip("=")
    for held_back in (secret, secret[::-1], handle.token().hex(), handle.secret.hex(), encoded, str(handle)):
        assert held_back not in whole


def test_a_job_that_waits_too_long_ends(started: Started) -> None:
    daemon = started("limits.cpu=1", "queue.wait_s=1")
    running = follow(daemon, spinning())

    result = Client().result(Client().submit(spinning()), timeout_s=60)
    Client().cancel(running)

    assert result.receipt.result.outcome.kind == "timed_out"
    assert result.receipt.result.outcome.detail == "after 1 s in the queue"
    assert result.stdout == b""


def test_a_job_that_takes_too_long_in_all_ends(started: Started) -> None:
    started("queue.total_s=3")

    result = Client().run(spinning(), timeout_s=60)

    assert result.receipt.result.outcome.kind == "timed_out"
    assert result.stdout == b"begun"


def test_a_job_whose_worker_dies_is_started_again_as_often_as_it_may_be(started: Started) -> None:
    daemon = started()
    assert daemon.process is not None
    job = spinning(attempts=3)
    seen = []
    with calling(daemon.socket) as caller:
        caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)
        for attempt in (1, 2, 3):
            while caller.conversation.attempt < attempt:
                caller.expect(State)
            caller.output[Channel.STDOUT] = b""
            caller.consume(len(b"begun"))
            seen.append((caller.conversation.attempt, caller.output[Channel.STDOUT]))
            os.kill(busiest(processes.workers(daemon.process.pid)), signal.SIGKILL)
        end = caller.consume()

    assert seen == [(1, b"begun"), (2, b"begun"), (3, b"begun")]
    assert end is not None
    assert (end.status.state, end.status.attempt) == ("SYSTEM_ERROR", 3)
    result = Client().result(job.handle(caller.peer), timeout_s=60)
    assert result.receipt.result.outcome.kind == "system_error"
    assert result.stdout == b"begun"


def test_a_job_without_attempts_left_after_a_crash_ends_without_output_and_informs_its_follower(
    started: Started,
) -> None:
    """Its output is lost, and the client forgets it too. The second crash, when it ran alone, is counted."""
    daemon = started()
    handle = follow(daemon, spinning(attempts=1))
    follower, results = following(handle)
    for _ in range(2):
        with calling(daemon.socket) as caller:
            caller.attach(handle, {Channel.STDOUT: 0, Channel.STDERR: 0}, 0)
            caller.consume(len(b"begun"))
        daemon.kill()
        daemon.start()
    follower.join(DEADLINE_S)

    assert [result.receipt.result.outcome.kind for result in results] == ["system_error"]
    assert results[0].stdout == b""
    with calling(daemon.socket) as caller:
        caller.attach(handle, {Channel.STDOUT: 5, Channel.STDERR: 0}, 2)
        end = caller.consume()
    assert end is not None
    assert end.status.stdout_bytes == 0


def test_a_job_that_kills_the_daemon_uses_no_attempt_of_concurrent_jobs(started: Started) -> None:
    """Here a test ends it, whenever one job runs, alone or not: the others' attempts are not used up."""
    daemon = started("limits.cpu=4")
    guilty = follow(daemon, spinning(attempts=1))
    others = [follow(daemon, spinning(700_000_000, attempts=1)) for _ in range(3)]
    for _ in range(4):
        until(
            lambda: Client().status(guilty).state in ("RUNNING", "SYSTEM_ERROR"),
            "the guilty job does not run",
        )
        if Client().status(guilty).state == "SYSTEM_ERROR":
            break
        daemon.kill()
        daemon.start()

    assert Client().result(guilty, timeout_s=DEADLINE_S).receipt.result.outcome.kind == "system_error"
    for handle in others:
        assert Client().result(handle, timeout_s=DEADLINE_S).receipt.result.outcome.kind == "out_of_gas"


def test_jobs_that_a_crash_interrupted_run_one_at_a_time_next_to_others(started: Started) -> None:
    daemon = started("limits.cpu=4")
    suspects = [follow(daemon, spinning(attempts=1)) for _ in range(2)]
    daemon.kill()
    daemon.start()
    until(lambda: running(suspects) == 1, "no suspect runs")
    fresh = follow(daemon, spinning())

    assert (running(suspects), running([fresh])) == (1, 1)
    first = next(handle for handle in suspects if Client().status(handle).state == "RUNNING")
    Client().cancel(first)
    until(lambda: running(suspects) == 1, "the other suspect does not run")
    for handle in (*suspects, fresh):
        Client().cancel(handle)


def running(handles: Sequence[Handle]) -> int:
    return sum(Client().status(handle).state == "RUNNING" for handle in handles)


def test_a_cancelled_job_stays_cancelled_whenever_the_daemon_is_killed(started: Started) -> None:
    daemon = started("limits.cpu=1")
    running, waiting = follow(daemon, spinning(attempts=9)), Client().submit(spinning(attempts=9))
    ended = [Client().cancel(handle) for handle in (waiting, running)]
    daemon.kill()
    daemon.start()

    assert [status.state for status in ended] == ["CANCELED", "CANCELED"]
    for handle in (running, waiting):
        assert Client().result(handle, timeout_s=60).receipt.result.outcome.kind == "cancelled"
