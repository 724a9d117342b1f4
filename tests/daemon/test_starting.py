"""A daemon and a client that are started together, and `plasmd --detach` and `--stop`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import CONFIGURATION, FAILURE, HELLO, OK, UNREACHABLE
from tests.support.daemon import DEADLINE_S, Daemon


def plasmd(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in the environment of a daemon."""
    return subprocess.run(
        [sys.executable, "-m", "plasm_core.daemon", *arguments],
        env=daemon.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        cwd=daemon.home,
    )


def test_a_job_is_submitted_right_after_the_daemon_is_started(tmp_path: Path) -> None:
    """As `plasmd &` and `plasm submit`, which were pasted together."""
    with Daemon(tmp_path) as daemon:
        daemon.launch()

        handle = daemon.plasm("submit", HELLO, stdin=b"abc").stdout
        result = daemon.plasm("result", "-", stdin=handle)

        assert result.stdout == b"cba"
        assert [path.name for path in daemon.socket.parent.iterdir()] == ["plasmd.sock"]


def test_a_daemon_in_the_background_is_ready_when_the_command_returns(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        started = plasmd(daemon, "--detach")
        try:
            listens = daemon.answers()
            result = daemon.plasm("result", "-", stdin=daemon.plasm("submit", HELLO, stdin=b"abc").stdout)
        finally:
            stopped = plasmd(daemon, "--stop")

        assert (started.returncode, listens, result.stdout) == (OK, True, b"cba")
        assert str(daemon.state / "plasmd.log").encode() in started.stderr
        assert b"job ended" in (daemon.state / "plasmd.log").read_bytes()
        assert (stopped.returncode, daemon.answers()) == (OK, False)
        assert (daemon.state / "plasmd.log").stat().st_mode & 0o777 == 0o600


def test_a_background_daemon_that_does_not_start_reports_why(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        wrong = plasmd(daemon, "--detach", "--set", "storage.keep_s=soon")
        no_group = plasmd(daemon, "--detach", "--set", "transport.local.group=nosuchgroup")

        assert wrong.returncode == CONFIGURATION
        assert b"storage.keep_s" in wrong.stderr
        assert no_group.returncode == FAILURE
        assert b"there is no group nosuchgroup" in no_group.stderr
        assert not list(daemon.socket.parent.iterdir())


def test_a_daemon_in_the_foreground_can_be_stopped_too(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        missing = plasmd(daemon, "--stop")
        daemon.start()
        stopped = plasmd(daemon, "--stop")

        assert (missing.returncode, stopped.returncode) == (UNREACHABLE, OK)
        assert daemon.process is not None
        assert daemon.process.wait(DEADLINE_S) == 0


def test_a_killed_daemon_in_the_background_leaves_nothing_that_keeps_the_next(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        started = plasmd(daemon, "--detach")
        pid = int(started.stderr.split(b"pid ")[1].split(b",")[0])
        os.kill(pid, signal.SIGKILL)

        again = plasmd(daemon, "--detach")
        stopped = plasmd(daemon, "--stop")

        assert (again.returncode, stopped.returncode) == (OK, OK), again.stderr


JSON = ("--set", "daemon.log_format=json")


def test_a_log_in_json_has_no_other_line_when_a_second_daemon_does_not_start(tmp_path: Path) -> None:
    """The second daemon writes to the log of the first."""
    with Daemon(tmp_path) as daemon:
        started = plasmd(daemon, "--detach", *JSON)
        try:
            again = plasmd(daemon, "--detach", *JSON)
            beside = plasmd(daemon, *JSON)
        finally:
            stopped = plasmd(daemon, "--stop")
        lines = (daemon.state / "plasmd.log").read_text().splitlines()
        entries = [json.loads(line) for line in [*lines, *beside.stderr.decode().splitlines()]]

        assert (started.returncode, stopped.returncode) == (OK, OK)
        assert (again.returncode, beside.returncode) == (FAILURE, FAILURE)
        failures = [entry for entry in entries if entry["event"] == "ended by an error"]
        shown = [f"error: {failures[0]['reason']}", f"hint: {failures[0]['hint']}"]
        assert "error: another daemon (process " in shown[0]
        assert [again.stderr.decode().splitlines(), len(failures)] == [shown, 2]


def test_check_answers_in_words_when_the_log_is_in_json(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        done = plasmd(daemon, "--check", *JSON, "--set", "transport.local.group=nosuchgroup")

        assert done.stderr.startswith(b"error: ")


@pytest.mark.parametrize("options", [("--detach", "--stop"), ("--check", "--detach")])
def test_only_one_thing_is_done_at_a_time(tmp_path: Path, options: tuple[str, ...]) -> None:
    with Daemon(tmp_path) as daemon:
        assert b"exclude one another" in plasmd(daemon, *options).stderr
