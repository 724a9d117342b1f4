"""Handles as arguments of the commands: by a file or standard input, and never in the list of processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.cli import arguments, jobs
from plasm_core.errors import InvalidRecordError
from plasm_core.records import Handle, PeerId
from tests.support.cli import UNREACHABLE, USAGE, Plasm
from tests.support.processes import wait_until

HANDLE = str(Handle.new("ab" * 32, PeerId.parse("12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h")))
COMMANDS = ("status", "wait", "logs", "result", "cancel", "release")


@pytest.fixture
def plasm(tmp_path: Path) -> Plasm:
    return Plasm(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my handle"
    path.write_text(HANDLE + "\n")
    return path


def test_a_handle_is_taken_from_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)

    for text in (f"@{file}", str(file), "my handle", "@my handle", HANDLE):
        assert arguments.given_handle(text) == HANDLE
        assert str(jobs._handle(text)[0]) == HANDLE


def test_a_handle_is_taken_from_a_socket_that_is_standard_input(plasm: Plasm) -> None:
    """It cannot be opened again by its name, as a pipe can."""
    for given in ("-", "@/dev/stdin", "@/dev/fd/0"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(HANDLE.encode() + b"\n")
            ours.shutdown(socket.SHUT_WR)
            done = subprocess.run(
                plasm.command("status", given),
                stdin=theirs.fileno(),
                capture_output=True,
                env=plasm.environment({"PLASM_SOCKET": "/nonexistent/plasmd.sock"}),
                timeout=120,
            )

        assert done.returncode == UNREACHABLE, done.stderr


def test_bytes_that_are_no_text_are_no_handle(plasm: Plasm) -> None:
    done = plasm("status", "-", stdin=b"\xff\xfe\n", env={"PYTHONIOENCODING": "utf-8:strict"})

    assert done.code == USAGE
    assert "standard input holds no handle" in done.err


def test_a_prefix_that_could_be_a_job_id_is_taken_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cafe").write_text(HANDLE)

    assert arguments.given_handle("cafe") == "cafe"
    assert arguments.given_handle("@cafe") == HANDLE
    assert arguments.given_handle("./cafe") == HANDLE
    Path("short").write_text("abcd1234\n")
    assert arguments.given_handle("@short") == "abcd1234"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        HANDLE[:-1].encode(),
        (HANDLE + "\n" + HANDLE).encode(),
        b"secret",
        b"\xff\x9b",
        b"a" * 5000,
    ],
    ids=["empty", "blank", "cut", "two", "other", "bytes", "long"],
)
def test_a_file_without_a_handle_is_refused_and_not_shown(
    tmp_path: Path, plasm: Plasm, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    done = plasm("status", f"@{path}")

    assert done.code == USAGE
    assert "handle" in done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize("text", ["@nowhere", "@.", "@", "nowhere/at/all", "", "x" * 5000])
def test_a_path_that_is_no_file_is_refused(plasm: Plasm, text: str) -> None:
    done = plasm("status", text)

    assert done.code != 0
    assert "handle" in done.err.lower()
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_handle_from_standard_input(plasm: Plasm, command: str) -> None:
    """There is no daemon: that it is looked for shows that the handle was read."""
    timeout = ["--timeout=1s"] if command in ("wait", "logs", "result") else []

    done = subprocess.run(
        plasm.command(command, "@-" if command == "status" else "-", *timeout),
        input=HANDLE.encode() + b"\nmore",
        capture_output=True,
        env=plasm.environment({"PLASM_SOCKET": str(plasm.home / "none.sock")}),
        timeout=60,
    )

    assert b"none.sock" in done.stderr, done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
@pytest.mark.parametrize("before", [(), ("--timeout", "60s"), ("--peer", "x")], ids=str)
def test_a_handle_on_the_command_line_is_covered(plasm: Plasm, before: tuple[str, ...]) -> None:
    """All of it but its first letters, and nothing else, in each place where it stands."""
    go_on, there = os.pipe()
    command = plasm.command("wait", *before, HANDLE, "--set", f"x={HANDLE}")
    program = (
        "import os, sys; sys.argv[:] = ['plasm', *sys.argv[2:]]; from plasm_core.cli import command_line;"
        "command_line.hide_handles(); sys.stdout.write('ready\\n'); sys.stdout.flush(); os.read(int(sys.argv[1]), 1);"
        "sys.stdout.write(' '.join(sys.argv))"
    )
    command[1:3] = ["-c", program, "plasm", str(go_on)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, pass_fds=[go_on], env=plasm.environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        os.write(there, b"x")
        known = process.stdout.read().decode()
    os.close(go_on)
    os.close(there)

    covered = b"phase0-" + b"*" * (len(HANDLE) - 7)
    assert [item for item in seen if b"phase0" in item] == [covered, b"x=" + covered]
    assert seen[-5:-1:2][0] == covered or covered in seen
    assert known.count(HANDLE) == 2
    assert set(before) <= {item.decode() for item in seen}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_the_command_covers_its_handle_before_it_does_anything(plasm: Plasm) -> None:
    """It waits for a peer that is not there, and is looked at meanwhile."""
    listener = subprocess.Popen(
        plasm.command("result", HANDLE, "--timeout", "60s"),
        env=plasm.environment({"PLASM_SOCKET": str(plasm.home / "none.sock")}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        shown = Path(f"/proc/{listener.pid}/cmdline")
        assert wait_until(lambda: b"***" in shown.read_bytes() or listener.poll() is not None)
        assert HANDLE.encode() not in shown.read_bytes()
    finally:
        listener.kill()
        listener.wait()


def test_an_invalid_handle_is_named_as_such() -> None:
    with pytest.raises(InvalidRecordError, match="handle"):
        jobs._handle("phase0-" + "x" * 40)


@pytest.mark.parametrize("option", [("--require", "known"), ("--verifier", "signature")])
def test_logs_verify_nothing_without_follow_and_say_so(plasm: Plasm, option: tuple[str, str]) -> None:
    done = plasm("logs", *option, HANDLE)

    assert (done.code, done.out) == (USAGE, b"")
    assert f"{option[0]} has no effect without --follow" in done.err
