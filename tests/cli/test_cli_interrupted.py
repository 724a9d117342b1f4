"""Interrupt the real command, and take its output away from it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import HELLO, OK, Plasm, outliving, without_phases
from tests.support.processes import descendants
from tests.support.wat import FOREVER, writing

PATIENCE_S = 20
FOREVER_LIMITS = ("--limit", "gas=9e15", "--limit", "wall=10min")
LONG = b"x" * 60_000


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A job that puts something out, more than is held back, and never ends."""
    (tmp_path / "endless.wasm").write_bytes(writing(LONG, times=3, then=FOREVER))
    return str(tmp_path / "endless.wasm")


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_endless_job_ends_with_its_command(
    plasm: Plasm, endless: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    receipt = tmp_path / "r.json"
    with plasm.start("run", endless, *FOREVER_LIMITS, "--receipt", str(receipt)) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"  # so it is running, and what it writes comes out at once
        children = {child: os.pidfd_open(child) for child in descendants(process.pid)}
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert children
    assert outliving(children, PATIENCE_S) == set()
    assert process.returncode == code
    assert (b"Traceback" in err, receipt.exists()) == (False, False)


def test_an_interrupted_command_says_so(plasm: Plasm, endless: str) -> None:
    with plasm.start("run", endless, *FOREVER_LIMITS) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert without_phases(err.decode()).strip() == "error: interrupted"


def test_a_caller_that_ignores_the_end_of_children_changes_nothing(plasm: Plasm) -> None:
    """A process inherits that, and cannot learn any more how its own children end."""
    ignoring = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", ignoring, *plasm.command("run", HELLO)]

    done = subprocess.run(command, capture_output=True, env=plasm.environment(), timeout=PATIENCE_S)

    assert (done.returncode, b"Traceback" in done.stderr) == (OK, False)
    assert done.stdout


def test_a_reader_that_closes_the_pipe_does_not_harm_the_job(plasm: Plasm, tmp_path: Path) -> None:
    """As with `| head -c1`: the receipt is still worth having."""
    file, receipt = tmp_path / "long.wasm", tmp_path / "r.json"
    file.write_bytes(writing(LONG, times=20))
    with plasm.start("run", str(file), "--receipt", str(receipt)) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == OK
    assert b"exited with code 0" in err
    assert b"Traceback" not in err
    assert b"Exception" not in err
    assert plasm("verify", str(receipt)).code == OK


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("run", "--help"), ("inspect", HELLO), ("inspect", HELLO, "--json"), ("plugins",)],
)
def test_no_command_minds_a_reader_that_is_gone(plasm: Plasm, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with plasm.start(*arguments, stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode in (0, 1)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("key", "pem"),
        ("jobs", "--json"),
        ("plugins",),
        ("inspect", HELLO, "--json"),
        ("run", HELLO),
    ],
)
def test_a_full_disk_is_named(
    plasm: Plasm, arguments: tuple[str, ...], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffered, what was written fails when the interpreter ends: it then complained, and exited with 120."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    plasm("key", "new")  # if there is none yet
    with open("/dev/full", "wb") as full, plasm.start(*arguments, stdout=full) as process:
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert without_phases(err.decode()).splitlines()[0] == "error: No space left on device"
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.parametrize(
    "closing",
    [
        'exec "$@" >&-',
        'exec "$@" <&-',
    ],
)
def test_a_closed_standard_stream_is_no_crash(plasm: Plasm, closing: str) -> None:
    done = plasm("run", HELLO, wrapped=("sh", "-c", closing, "sh"))

    assert done.code == OK


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_marks_is_no_crash(plasm: Plasm, encoding: str) -> None:
    assert plasm("inspect", HELLO, env={"PYTHONIOENCODING": encoding}).code == OK
