"""Real daemons and clients on the laboratory's hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from plasm_core.client.daemon_health import ask_daemon
from plasm_core.config import Config
from plasm_core.diagnostics import Check
from tests.lab.internet import Host
from tests.lab.namespaces import find
from tests.support.daemon import DEADLINE_S, Daemon

PORT = 4001
TCP, QUIC = f"/ip4/0.0.0.0/tcp/{PORT}", f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"
QUICK = ("--set", "transport.libp2p.heartbeat_s=2")
"""A silent peer is given up after 2.5 times that."""


class Node(Daemon):
    """A daemon on a host, with directories of its own."""

    def __init__(
        self,
        host: Host,
        home: Path,
        *arguments: str,
        bootstrap: str | None = None,
        listen: tuple[str, ...] = (TCP, QUIC),
    ) -> None:
        home.mkdir(exist_ok=True)
        begin = ("--bootstrap", bootstrap) if bootstrap else ()
        addresses = ", ".join(f'"{address}"' for address in listen)
        super().__init__(
            home,
            *("--transport", "libp2p", "--set", f"transport.libp2p.listen=[{addresses}]"),
            *(*QUICK, *begin, *arguments),
        )
        self.host = host

    def __enter__(self) -> Node:
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.host.namespace.command(sys.executable, "-m", "plasm_core.daemon", *self.arguments),
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        return self.process

    @property
    def peer(self) -> str:
        """Its identity, known once it has started."""
        found = re.search(r" ready peer=(\S+)", self.wait_log(r" ready peer="))
        assert found is not None
        return found[1]

    @property
    def address(self) -> str:
        """Where it is reached over TCP, unless something stands between."""
        return f"/ip4/{self.host.public_address}/tcp/{PORT}/p2p/{self.peer}"

    def wait_log(self, pattern: str, *, since: int = 0, deadline_s: float = DEADLINE_S) -> str:
        """Wait until its log says something after so many characters; return the log. Raises: AssertionError."""
        deadline = time.monotonic() + deadline_s
        while not re.search(pattern, (text := self.log.read_text())[since:]):
            assert self.process is not None
            assert self.process.poll() is None, f"it ended:\n{text}"
            assert time.monotonic() < deadline, f"not in its log: {pattern}\n{text}"
            time.sleep(0.05)
        return text

    def health(self) -> dict[str, Check]:
        """Return what the daemon says of itself, by the names of the checks."""
        with mock.patch.dict(os.environ, {"PLASM_SOCKET": str(self.socket)}):
            return {check.name: check for check in ask_daemon(Config())}

    def diagnose(self) -> list[dict[str, Any]]:
        """Return what the doctor says once the daemon answers it, which on a busy machine it may do late."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            done = subprocess.run(
                self.host.namespace.command(sys.executable, "-m", "plasm_core.cli", "doctor", "--json"),
                env=self.environ,
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
            assert done.returncode in (0, 1), done.stderr.decode()
            found: list[dict[str, Any]] = json.loads(done.stdout)
            if any(check["name"] == "daemon" and check["status"] == "ok" for check in found):
                return found
            assert time.monotonic() < deadline, f"the daemon does not answer the doctor:\n{self.said}"

    def doctor(self) -> dict[str, dict[str, Any]]:
        """Return what the doctor says, by the names of the checks; those of changes are one."""
        found = self.diagnose()
        changes = "; ".join(check["found"] for check in found if check["name"] == "changed")
        return {check["name"]: check for check in found} | {"changed": {"found": changes}}


class Client:
    """The command line on a host."""

    def __init__(self, host: Host, home: Path, *arguments: str) -> None:
        home.mkdir(exist_ok=True)
        self.host = host
        self.arguments = arguments
        self._daemon = Daemon(home)  # never started: its environment is what is wanted

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.__exit__()

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of plasm's on the host."""
        return self.host.namespace.command(
            sys.executable, "-m", "plasm_core.cli", *arguments, *self.arguments, *QUICK
        )

    def plasm(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command. Raises: AssertionError, with what it said, if it fails."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                env=self._daemon.environ,
                input=stdin,
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"it did not end: {(exc.stderr or b'').decode()}") from exc
        assert done.returncode == 0, done.stderr.decode()
        return done

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command, and do not wait for it."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self._daemon.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )


def has_miniupnpd() -> bool:
    """Return whether there is a router that forwards ports when asked."""
    return find("miniupnpd") is not None


def has_php() -> bool:
    """Return whether there is a PHP that the client runs on."""
    php = find("php")
    suits = "exit(PHP_VERSION_ID >= 80200 && extension_loaded('sodium') ? 0 : 1);"
    return php is not None and not subprocess.run([php, "-r", suits], check=False).returncode


def eventually(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Wait for what other processes do. Raises: AssertionError if it is not done in time."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.05)
