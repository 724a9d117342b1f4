"""The commands that speak to a daemon, as a user types them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.cli.job_list import _listed
from plasm_core.errors import RefusedError, WaitTimeoutError
from tests.daemon.conftest import HELLO
from tests.support.daemon import Daemon

NODE = "12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h"


@pytest.fixture
def spin(tmp_path: Path) -> Path:
    """A module that writes a line and then runs until its gas ends."""
    import wasmtime

    path = tmp_path / "spin.wasm"
    path.write_bytes(
        wasmtime.wat2wasm(
            """(module
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 1)
              (data (i32.const 16) "begun\\n")
              (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00")
              (func (export "_start")
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
                (loop $l (br $l))))"""
        )
    )
    return path


def test_a_job_is_submitted_and_its_result_fetched_later(daemon: Daemon, tmp_path: Path) -> None:
    submitted = daemon.plasm("submit", str(HELLO), stdin=b"Hello, world")
    handle = submitted.stdout.decode().strip()
    receipt = tmp_path / "receipt.json"

    assert submitted.stdout == handle.encode() + b"\n"
    assert handle.startswith("phase0-")

    result = daemon.plasm("result", handle, "--receipt", str(receipt))

    assert result.stdout == b"dlrow ,olleH"
    assert "receipt verified ✓ signed by 12D3" in result.stderr.decode()
    assert b'"payload"' in receipt.read_bytes()


def test_a_starting_daemon_keeps_its_users_handles(tmp_path: Path) -> None:
    """It took them for garbage, and warned at each start that it could not remove them."""
    with Daemon(tmp_path) as daemon:
        daemon.start()
        handle = daemon.plasm("submit", str(HELLO), stdin=b"abc").stdout
        (daemon.state / "jobs" / "0123456789abcdef").mkdir()
        daemon.terminate()
        daemon.start()
        result = daemon.plasm("result", "-", stdin=handle)
        listed = json.loads(daemon.plasm("jobs", "--json", "--handles").stdout)["jobs"]

        assert result.stdout == b"cba"
        assert [item["handle"] for item in listed] == [handle.decode().strip()]
        assert not (daemon.state / "jobs" / "0123456789abcdef").exists()
        assert " warning " not in daemon.log.read_text()


def test_the_handles_are_remembered_for_their_owner_only(daemon: Daemon) -> None:
    handle = daemon.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()
    listed = json.loads(daemon.plasm("jobs", "--json", "--handles").stdout)["jobs"]
    mine = next(item for item in listed if item["handle"] == handle)
    file = daemon.state / "jobs" / "handles.jsonl"

    assert mine["moduleName"] == "hello.wasm"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert daemon.plasm("result", mine["jobId"][:12]).stdout == b"cba"


def test_a_running_job_is_watched_and_cancelled(daemon: Daemon, spin: Path) -> None:
    handle = daemon.plasm("submit", str(spin), "--limit", "gas=1e15", "--limit", "wall=600s").stdout.decode()
    handle = handle.strip()
    while json.loads(daemon.plasm("status", handle, "--json").stdout)["stdoutBytes"] < 6:
        pass

    assert daemon.plasm("logs", handle).stdout == b"begun\n"

    cancelled = json.loads(daemon.plasm("cancel", handle, "--json").stdout)
    result = daemon.plasm("result", handle, check=False)

    assert (cancelled["state"], cancelled["outcome"]) == (
        "CANCELED",
        {"kind": "cancelled", "code": None, "trap": None, "detail": None},
    )
    assert result.returncode == 6
    assert result.stdout == b"begun\n"
    assert "receipt verified ✓" in result.stderr.decode()
    assert daemon.plasm("wait", handle, check=False).returncode == 6


def test_a_released_job_is_gone(daemon: Daemon) -> None:
    handle = daemon.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()
    daemon.plasm("wait", handle)
    daemon.plasm("release", handle)

    result = daemon.plasm("result", handle, check=False)

    assert result.returncode == 1
    assert "the job has been released" in result.stderr.decode()


def test_a_job_that_runs_is_not_released(daemon: Daemon, spin: Path) -> None:
    handle = daemon.plasm("submit", str(spin), "--limit", "gas=1e15").stdout.decode().strip()

    refused = daemon.plasm("release", handle, check=False)
    daemon.plasm("cancel", handle)

    assert refused.returncode == 1
    assert "cancel it first" in refused.stderr.decode()


def test_a_waiting_command_gives_up_at_its_deadline_and_names_what_it_waited_for(
    daemon: Daemon, spin: Path
) -> None:
    handle = daemon.plasm("submit", str(spin), "--limit", "gas=1e15").stdout.decode().strip()

    waited = daemon.plasm("result", handle, "--timeout", "1s", check=False)
    daemon.plasm("cancel", handle)

    assert waited.returncode == 5
    assert "after 1 s still waiting for the job's result" in waited.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("submit", "/nonexistent.wasm"), 1, "cannot read /nonexistent.wasm"),
        (("submit", str(Path(__file__))), 1, "is no WebAssembly module"),
        (("status", "phase0-AAAA"), 1, "not a valid handle"),
        (("status", "abcdef"), 2, "no job of yours begins so"),
        (("submit", str(HELLO), "--limit", "gas=0"), 2, "gas"),
        (("submit", str(HELLO), "--limit", "memory=1000GiB"), 2, "memory"),
        (
            ("submit", str(HELLO), "--limit", "wall=2h"),
            1,
            "the limit wall=7200s is more than the 3600s allowed here",
        ),
        (
            ("submit", str(HELLO), "--grant", "clock.real"),
            1,
            "does not grant clock.real\nhint: a daemon needs policy.grants in its own configuration; "
            "a run on this machine takes --set 'policy.grants=[\"clock.real\"]'",
        ),
    ],
)
def test_impossible_actions_are_reported(
    daemon: Daemon, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = daemon.plasm(*arguments, check=False)

    assert result.returncode == code
    assert said in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


def test_without_a_daemon_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    with Daemon(tmp_path) as absent:
        result = absent.plasm("submit", str(HELLO), check=False)

    assert result.returncode == 5
    assert "hint: start one with: plasmd" in result.stderr.decode()


def test_another_nodes_handle_opens_nothing(daemon: Daemon, tmp_path: Path) -> None:
    with Daemon(tmp_path) as other:
        other.start()
        handle = other.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()

        result = daemon.plasm("result", handle, check=False)

    assert result.returncode == 5
    assert "is another node" in result.stderr.decode()


def test_a_module_comes_by_any_name_of_standard_input(daemon: Daemon) -> None:
    """Its bytes are not taken for the job's input."""
    code = Path(HELLO).read_bytes()
    for name in ("-", "/dev/stdin", "/dev/fd/0"):
        handle = daemon.plasm("submit", name, "some", "words", stdin=code).stdout.decode().strip()

        assert daemon.plasm("result", handle).stdout == b"sdrow emos\n"


def test_a_job_whose_node_cannot_answer_now_is_not_forgotten() -> None:
    assert _listed(RefusedError("storage_failed", "the disk is bad")) == ("unavailable", False)
    assert _listed(RefusedError("shutting_down", "later")) == ("unavailable", False)
    assert _listed(WaitTimeoutError("after 10 s still waiting")) == ("unreachable", False)
    assert _listed(RefusedError("unknown_job", "there is no such job")) == ("unknown", True)
    assert _listed(RefusedError("released", "it was released")) == ("released", True)


def test_a_list_says_why_a_job_is_unreachable(tmp_path: Path) -> None:
    """A user who stopped the daemon would take the jobs for lost."""
    with Daemon(tmp_path) as stopped:
        stopped.start()
        stopped.plasm("submit", str(HELLO))
        stopped.terminate()

        listed = stopped.plasm("jobs")

    assert b"unreachable" in listed.stdout
    assert "hint: an unreachable job is still at its node: " in listed.stderr.decode()
    assert "start one with: plasmd --detach" in listed.stderr.decode()


def test_an_address_to_begin_at_needs_a_network(daemon: Daemon) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            daemon.program,
            "--check",
            "--bootstrap",
            f"/ip4/192.0.2.1/tcp/4001/p2p/{NODE}",
        ],
        env=daemon.environ,
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (2, b"")
    assert "it needs --transport libp2p, to be a node, or --gateway" in " ".join(done.stderr.decode().split())
