"""Commands where the system denies them something: they do without, or say what was denied and what to do."""

from __future__ import annotations

import os
import platform
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cgroups import process_group
from tests.support.cli import FAILURE, HELLO, OK, Done, Plasm

PATIENCE_S = 120
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="is about Linux")


def denied(
    plasm: Plasm, what: str, *arguments: str, stdin: bytes = b"", module: str = "plasm_core.cli"
) -> Done:
    environ = plasm.environment()
    if what.startswith("fsize="):
        environ.pop("COVERAGE_PROCESS_CONFIG", None)  # what coverage records of a process is a file as well
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.denied", what, module, *arguments],
        env=environ,
        capture_output=True,
        timeout=PATIENCE_S,
        input=stdin,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr.decode())


@on_linux
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of memfd_create")
@pytest.mark.parametrize("what", ["memfd", "temporary", "memfd,temporary"])
def test_a_job_runs_without_memory_files_and_temporary_files(plasm: Plasm, what: str) -> None:
    done = denied(plasm, what, "run", HELLO, stdin=b"abc")

    assert (done.code, done.out) == (OK, b"cba"), done.err


@on_linux
@pytest.mark.parametrize("mebibytes", [520, 1000])
def test_a_limit_of_address_space_is_named(stranger: Plasm, mebibytes: int) -> None:
    done = denied(stranger, f"as={mebibytes << 20}", "run", HELLO, stdin=b"abc")

    assert (done.code, done.out) == (FAILURE, b"")
    assert f"address space is limited to {mebibytes} MiB (ulimit -v)" in done.err


@on_linux
def test_a_limit_of_address_space_is_named_and_not_the_module_where_v8_cannot_start(stranger: Plasm) -> None:
    pytest.importorskip("py_mini_racer")

    done = denied(stranger, f"as={4 << 30}", "run", "--runtime", "v8", HELLO, stdin=b"abc")

    assert (done.code, done.out) == (FAILURE, b"")
    assert "v8: failed to reserve address space" in done.err
    assert "address space is limited to 4096 MiB (ulimit -v)" in done.err


@on_linux
@pytest.mark.parametrize("mebibytes", [60, 200, 511])
@pytest.mark.parametrize("module", ["plasm_core.cli", "plasm_core.daemon"])
def test_a_limit_that_is_too_low_for_a_command_is_named_at_once(
    stranger: Plasm, module: str, mebibytes: int
) -> None:
    """Where address space runs out while a thread starts, CPython waits for the thread for ever."""
    done = denied(stranger, f"as={mebibytes << 20}", "--version", module=module)

    assert (done.code, done.out) == (FAILURE, b"")
    assert f"limited to {mebibytes} MiB (ulimit -v): Plasm needs 512 MiB" in done.err
    assert "ulimit -v unlimited" in done.err


@on_linux
def test_an_engine_that_reserves_little_runs_under_the_least_address_space(stranger: Plasm) -> None:
    done = denied(stranger, f"as={512 << 20}", "run", "--runtime", "wasm3", HELLO, stdin=b"abc")

    assert (done.code, done.out) == (OK, b"cba"), done.err


@on_linux
@pytest.mark.parametrize("limit", ["nofile=6", "nofile=9", "nofile=14"])
def test_a_limit_of_open_files_is_named(stranger: Plasm, limit: str) -> None:
    done = denied(stranger, limit, "run", HELLO, stdin=b"abc")

    assert done.code == OK or "ulimit -n" in done.err, done.err


@on_linux
def test_a_limit_of_the_size_of_files_is_named(stranger: Plasm) -> None:
    done = denied(stranger, "fsize=8192", "run", HELLO, stdin=b"abc")

    assert (done.code, done.out) == (FAILURE, b"")
    assert "ulimit -f" in done.err


@pytest.fixture
def silent() -> Iterator[tuple[int, int]]:
    """A pipe into which nobody has written: where to read, and where to write."""
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def said_on_a_terminal(plasm: Plasm, reader: int, writer: int, text: str, *arguments: str) -> int:
    """Run a command, wait until it has said something, then end its input. Return its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        plasm.command(*arguments),
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=plasm.environment(),
    )
    os.close(theirs)
    said = b""
    try:
        while text.encode() not in said:
            chunk = os.read(ours, 4096)
            assert chunk, said
            said += chunk
        os.close(writer)
        process.communicate(timeout=PATIENCE_S)
        return process.returncode
    finally:
        os.close(ours)
        process.kill()
        process.wait(PATIENCE_S)


def test_a_job_that_waits_for_standard_input_says_so_on_a_terminal(
    plasm: Plasm, silent: tuple[int, int]
) -> None:
    text = "reading standard input to its end; to give none: </dev/null"

    assert said_on_a_terminal(plasm, *silent, text, "run", HELLO) == OK


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "-"),
        ("run", "-"),
        ("verify", "-"),
        ("receipt", "show", "-"),
        ("status", "-"),
        ("result", "@/dev/stdin"),
    ],
)
def test_each_command_that_waits_for_standard_input_says_so_on_a_terminal(
    plasm: Plasm, silent: tuple[int, int], arguments: tuple[str, ...]
) -> None:
    assert said_on_a_terminal(plasm, *silent, " to its end", *arguments) != OK


def test_a_pipe_that_is_named_is_waited_for_with_its_name(
    plasm: Plasm, tmp_path: Path, silent: tuple[int, int]
) -> None:
    """A second reader of the pipe's other end is what ends it here."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keeper = os.open(pipe, os.O_RDWR)
    os.close(silent[0])
    os.dup2(keeper, silent[1])
    os.close(keeper)
    reader = os.open(os.devnull, os.O_RDONLY)
    try:
        text = f"reading {pipe} to its end"
        assert said_on_a_terminal(plasm, reader, silent[1], text, "run", HELLO, "--stdin", str(pipe)) == OK
    finally:
        os.close(reader)


@pytest.mark.parametrize("most", [2, 3])
def test_a_job_that_no_process_may_be_started_for_says_which_limit_to_raise(plasm: Plasm, most: int) -> None:
    """As in a container with --pids-limit. It fails where a child is started, or where one forks."""
    with process_group(most) as group:
        join = f'echo $$ >{group}/cgroup.procs && exec "$@"'
        done = plasm("run", HELLO, wrapped=("sh", "-c", join, "sh"))

    assert done.code == FAILURE
    assert "raise the limit of processes: TasksMax of the service, pids.max" in " ".join(done.err.split())
