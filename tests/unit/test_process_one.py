"""Hold what process 1 of a container does: it forwards signals, reaps orphans, and exits as its child does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.process_one import continue_in_child

DEADLINE_S = 60
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
FIRST = "from plasm_core.process_one import continue_in_child\ncontinue_in_child()\n"
ORPHAN = """\
import os, time
told, tell = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan:
        os.write(tell, str(orphan).encode())
    os._exit(0)
os.wait()
orphan = os.read(told, 20).decode()
while os.path.exists(f"/proc/{orphan}"):
    time.sleep(0.01)
print("reaped")
"""


def can_be_process_one() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    )


in_a_namespace = pytest.mark.skipif(not can_be_process_one(), reason="no PID namespace can be made here")


@contextlib.contextmanager
def started(program: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program as process 1 of a PID namespace, and end all of it."""
    command = [*NAMESPACE, sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # and with it process 1


def process_one(process: subprocess.Popen[str]) -> int:
    """Return the id that process 1 has outside of its namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@in_a_namespace
def test_orphans_are_reaped() -> None:
    with started(FIRST + ORPHAN) as process:
        said, _ = process.communicate(timeout=DEADLINE_S)

    assert (said, process.returncode) == ("reaped\n", 0)


@in_a_namespace
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_what_has_set_no_handler_yet(number: signal.Signals) -> None:
    """Process 1 itself would never see it."""
    program = (
        f"import signal; signal.signal({number:d}, signal.SIG_DFL); print('up', flush=True); signal.pause()"
    )
    with started(FIRST + program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process_one(process), number)
        process.wait(DEADLINE_S)

    assert process.returncode == 128 + number


@in_a_namespace
@pytest.mark.skipif(shutil.which("setsid") is None, reason="there is no setsid")
def test_the_end_of_the_terminal_reaches_the_child() -> None:
    """The kernel sends SIGHUP to the leader of the session only, which process 1 is."""
    master, slave = os.openpty()
    default = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # nohup(1) had it ignored, perhaps
    program = f"{FIRST}import signal; {default}; print('up', flush=True); signal.pause()"
    command = [*NAMESPACE, "setsid", "--ctty", sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=slave, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            os.close(master)
            process.wait(DEADLINE_S)
        finally:
            process.kill()

    assert process.returncode == 128 + signal.SIGHUP


@in_a_namespace
def test_the_exit_code_is_that_of_the_child() -> None:
    with started(FIRST + "raise SystemExit(7)") as process:
        process.wait(DEADLINE_S)

    assert process.returncode == 7


@in_a_namespace
@pytest.mark.parametrize("module", ["plasm_core.cli", "plasm_core.daemon.entry"])
def test_both_commands_can_be_process_one(module: str) -> None:
    program = f"import os, atexit; atexit.register(lambda: print(os.getpid())); from {module} import main; main(['--version'])"
    with started(program) as process:
        said, _ = process.communicate(timeout=DEADLINE_S)

    version, pid = said.splitlines()
    assert "version" in version
    assert (int(pid) > 1, process.returncode) == (True, 0)


def test_any_other_process_goes_on_as_it_is() -> None:
    before = os.getpid()

    continue_in_child()

    assert os.getpid() == before
