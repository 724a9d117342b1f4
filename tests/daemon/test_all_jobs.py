"""What the user that runs the daemon sees of all its jobs, and that nobody else sees it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from tests.daemon.conftest import HELLO
from tests.daemon.test_commands import spin  # noqa: F401 - a fixture
from tests.support.cli import FAILURE, OK, USAGE
from tests.support.daemon import Daemon
from tests.support.users import interpreter_of

EXITED = {"kind": "exited", "code": 0, "trap": None, "detail": None}


def listed(daemon: Daemon) -> list[dict[str, object]]:
    """Return all jobs, as JSON has them."""
    jobs = json.loads(daemon.plasm("jobs", "--all", "--json").stdout)["jobs"]
    assert isinstance(jobs, list)
    return jobs


def test_the_operator_sees_every_job_and_no_secret_of_one(daemon: Daemon) -> None:
    handle = daemon.plasm("submit", str(HELLO), "word-of-the-input", stdin=b"abc").stdout.decode().strip()
    daemon.plasm("wait", handle)

    job = next(item for item in listed(daemon) if item["outcome"] == EXITED)
    text = daemon.plasm("jobs", "--all").stdout.decode()

    assert set(job) == {
        *(
            "jobId",
            "module",
            "moduleName",
            "owner",
            "state",
            "outcome",
            "route",
            "acceptedAt",
            "ageS",
            "gasUsed",
        )
    }
    assert job["owner"] == pwd.getpwuid(os.geteuid()).pw_name
    assert (job["state"], job["route"]) == ("COMPLETE", "here")
    assert isinstance(job["gasUsed"], int)
    assert job["gasUsed"] > 1000
    assert f"{job['jobId']}"[:12] in text
    assert "hello.wasm" in text
    assert handle not in text
    assert "word-of-the-input" not in json.dumps(listed(daemon))


def test_the_operator_ends_anybodys_job(daemon: Daemon, spin: Path, tmp_path: Path) -> None:  # noqa: F811
    """The handle is in another home: the operator has only the id."""
    environ = {**daemon.environ, "XDG_STATE_HOME": str(tmp_path / "client")}
    handle = subprocess.run(
        [*_plasm(), "submit", str(spin), "--limit", "gas=1e15", "--limit", "wall=10min"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    ).stdout.decode()
    job_id = next(str(item["jobId"]) for item in listed(daemon) if item["outcome"] is None)

    short = daemon.plasm("cancel", "--operator", job_id[:3], check=False)
    done = daemon.plasm("cancel", "--operator", job_id[:16])
    again = daemon.plasm("cancel", "--operator", job_id[:16], check=False)
    result = subprocess.run(
        [*_plasm(), "result", "-"], env=environ, input=handle.encode(), capture_output=True, check=False
    )

    assert short.returncode == USAGE
    assert (done.returncode, b"cancel" in done.stdout) == (OK, True)
    assert again.returncode == FAILURE
    assert b"no job without a result" in again.stderr
    assert b"cancelled: on request" in result.stderr


def _plasm() -> list[str]:
    return [sys.executable, "-m", "plasm_core.cli"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users to ask as")
def test_another_user_sees_nothing(tmp_path: Path) -> None:
    outsider = interpreter_of("ordinary")
    with Daemon(tmp_path, "--set", "transport.local.mode=0666") as daemon:
        daemon.start()
        daemon.socket.parent.chmod(0o755)
        environment = {
            **outsider.environment,
            "PLASM_SOCKET": str(daemon.socket),
        }
        theirs = attrs.evolve(outsider, environment=environment)

        seen = theirs.run("-m", "plasm_core.cli", "jobs", "--all")
        ended = theirs.run("-m", "plasm_core.cli", "cancel", "--operator", "abcd")

    for done in (seen, ended):
        assert (done.returncode, done.stdout) == (FAILURE, b""), done.stderr
        assert b"to the user that runs the daemon" in done.stderr
