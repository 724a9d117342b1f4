"""Hold the mark of a daemon that is starting: clients wait for it, and for nothing that has died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from plasm_core import starting
from plasm_core.client.start_patience import StartPatience
from plasm_core.starting import StartMark, is_starting

_HOLD = """
import sys
from pathlib import Path
from plasm_core.starting import StartMark
StartMark().set(Path(sys.argv[1]))
print("marked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the daemon of a user is to listen, whose runtime directory is a fresh one."""
    monkeypatch.delenv("PLASM_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "plasm" / "plasmd.sock"


def test_a_mark_is_there_until_it_is_cleared(socket: Path) -> None:
    mark = StartMark()
    before = is_starting()
    mark.set(socket)
    during = is_starting()
    mark.clear()

    assert (before, during, is_starting()) == (False, True, False)
    assert list(socket.parent.iterdir()) == []


def test_a_socket_that_is_named_is_marked_by_itself(
    socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = StartMark()
    mark.set(tmp_path / "named.sock")

    assert not is_starting()
    monkeypatch.setenv("PLASM_SOCKET", str(tmp_path / "named.sock"))
    assert is_starting()
    mark.clear()


def test_a_daemon_that_died_leaves_no_mark(socket: Path) -> None:
    """Otherwise each command would wait in vain until the file is removed."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"marked\n"
        held = is_starting()
        process.kill()

    assert held
    assert not is_starting()
    assert [path.name for path in socket.parent.iterdir()] == ["plasmd.sock.starting"]


def test_a_second_daemon_keeps_the_mark_of_the_first(socket: Path) -> None:
    first, second = StartMark(), StartMark()
    first.set(socket)
    second.set(socket)
    second.clear()

    assert is_starting()
    first.clear()


async def patience() -> float:
    """Look until it is given up. Return for how many seconds."""
    began, waiting = trio.current_time(), StartPatience()
    while await waiting.goes_on(answered=False):
        pass
    return trio.current_time() - began


@pytest.mark.usefixtures("socket")
@pytest.mark.trio
async def test_a_client_waits_a_moment_if_no_daemon_is_starting(autojump_clock: trio.abc.Clock) -> None:
    """The shell starts `plasmd &` and the next command at once: the mark may be late."""
    assert starting.GRACE_S <= await patience() < starting.GRACE_S + 1
    assert not await StartPatience().goes_on(answered=True)


@pytest.mark.trio
async def test_a_client_waits_for_a_daemon_that_is_starting_and_not_for_ever(
    socket: Path, autojump_clock: trio.abc.Clock
) -> None:
    mark = StartMark()
    mark.set(socket)

    waited = await patience()

    mark.clear()
    assert starting.PATIENCE_S <= waited < starting.PATIENCE_S + 1
