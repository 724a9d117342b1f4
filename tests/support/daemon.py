"""A real plasmd with directories of its own, started, killed and started again by a test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE_S = 60.0


class Daemon:
    """One daemon's home, and its process while it runs. As a context it is ended and its socket removed."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        program: str = "plasm_core.daemon",
    ) -> None:
        self.home = home
        self.program = program
        self.arguments: Sequence[str] = arguments
        self.log = home / "plasmd.log"
        # Paths of sockets are short: pytest's directories are not.
        self._sockets = Path(tempfile.mkdtemp(prefix="plasm-"))
        self.socket = self._sockets / "plasmd.sock"
        self.state = home / "state" / "plasm"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PLASM_")}
        self.environ = kept | {
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PLASM_SOCKET": str(self.socket),
            **(environ or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.program, *self.arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        return self.process

    def start(self, until: str = "") -> None:
        """Start it and wait until it answers, and its log has a text.

        Raises: AssertionError, with its log, if it does not.
        """
        process = self.launch()
        deadline = time.monotonic() + DEADLINE_S
        while not (self.answers() and until in self.log.read_text()):
            assert process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-4000:]

    def answers(self) -> bool:
        """Return whether something listens on its socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.socket))
            except OSError:
                return False
            return True

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def terminate(self) -> int:
        """End it as a service manager would, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def plasm(
        self, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command line against it."""
        return subprocess.run(
            [sys.executable, "-m", "plasm_core.cli", *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            timeout=DEADLINE_S,
            check=check,
        )
