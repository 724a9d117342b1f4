"""One deadline for a command over many jobs."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from plasm_core.client import Client
from plasm_core.errors import PlasmError, WaitTimeoutError
from plasm_core.records import Handle, PeerId

JOBS = 12


def handles() -> list[Handle]:
    peer = PeerId(public_key=bytes([9]) * 32)
    return [Handle(job_id=f"{number:064x}", secret=bytes([number]) * 32, peer=peer) for number in range(JOBS)]


class MuteDaemon:
    """Takes connections on the user's socket and answers none. `wanted` is set when so many are open at once."""

    def __init__(self, path: Path, wanted: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._wanted = wanted
        self.reached = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._open.append(self._listener.accept()[0])
            except OSError:
                return
            if len(self._open) == self._wanted:
                self.reached.set()
                self.close()

    def close(self) -> None:
        """End everything: waiting clients learn that no daemon is there."""
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own daemon has its socket."""
    monkeypatch.delenv("PLASM_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "plasm").mkdir(mode=0o700)
    return tmp_path / "plasm"


def test_many_jobs_are_asked_about_at_once(runtime_directory: Path) -> None:
    """One after the other, a daemon that says nothing held a command for one deadline a job."""
    daemon = MuteDaemon(runtime_directory / "plasmd.sock", JOBS)

    found = Client().statuses(handles(), timeout_s=60)

    assert daemon.reached.is_set()
    assert len(found) == JOBS
    assert all(isinstance(answer, PlasmError) for answer in found)


def test_one_deadline_holds_for_all_jobs(runtime_directory: Path) -> None:
    daemon = MuteDaemon(runtime_directory / "plasmd.sock", JOBS + 1)
    try:
        found = Client().statuses(handles(), timeout_s=0.5)
    finally:
        daemon.close()

    assert [type(answer) for answer in found] == [WaitTimeoutError] * JOBS
