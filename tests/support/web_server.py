"""A real `plasm web` beside a real plasmd, and an HTTP client that sends what a test says."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from tests.support.daemon import DEADLINE_S, Daemon


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class WebServer:
    """One `plasm web` on a free port of loopback, with the daemon's directories. As a context it is ended."""

    def __init__(self, daemon: Daemon, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        self.daemon = daemon
        self.arguments = ("--listen", listen, *arguments)
        self.log = daemon.home / f"web-{secrets.token_hex(4)}.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._kept: socket.socket | None = None

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self._give_port()

    def start(self) -> WebServer:
        """Start it, and wait until it serves. On the port that it had before, if it was started before."""
        if self.port:
            self.arguments = ("--listen", f"127.0.0.1:{self.port}", *self.arguments[2:])
        before = len(self.said)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plasm_core.cli", "web", *self.arguments],
                env=self.daemon.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.daemon.home,
            )
        deadline = time.monotonic() + DEADLINE_S
        while "serving" not in self.said[before:]:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        for line in self.said[before:].splitlines():
            if line.startswith("listening on http"):
                self.port = int(line.rstrip("/").rpartition(":")[2])
        self._give_port()
        return self

    @property
    def said(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        if self.port:
            self._keep_port()
        return code

    def _keep_port(self) -> None:
        """Keep the port from others until the next start: nothing listens there, so that it refuses connections."""
        self._give_port()
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", self.port))

    def _give_port(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @property
    def page_token(self) -> str:
        """The token of the user's own browser."""
        return (self.daemon.state / "web" / "page.token").read_text().strip()

    def make_token(self, name: str, *scopes: str) -> str:
        """Make a token by the command line."""
        given = [item for scope in scopes for item in ("--scope", scope)]
        return self.daemon.plasm("web", "token", "make", name, *given).stdout.decode().strip()

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection of one's own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "page",
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> Answer:
        """Send a request, with the page's token unless another or none is given."""
        given = dict(headers or {})
        if token is not None:
            given.setdefault("Authorization", f"Bearer {self.page_token if token == 'page' else token}")
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=given)
            found = connection.getresponse()
            return Answer(
                status=found.status,
                headers={name.lower(): value for name, value in found.getheaders()},
                body=found.read(),
            )
        finally:
            connection.close()

    def submit(
        self, parts: Sequence[tuple[str, bytes]], *, wait_s: int = 0, token: str | None = "page"
    ) -> Answer:
        """Post a form to /v1/jobs."""
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s}"
        return self.ask("POST", "/v1/jobs", token=token, headers=headers, body=form(boundary, parts))


def form(boundary: str, parts: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the body of a form. `module`, `stdin` and the like are sent as files, `file:PATH` as a file of that name."""
    lines = b""
    for given, value in parts:
        name, _, path = given.partition(":")
        path = path or (f"{name}.bin" if name in ("module", "stdin", "tree", "pack") else "")
        file = f'; filename="{path}"' if path else ""
        lines += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            + value
            + b"\r\n"
        )
    return lines + f"--{boundary}--\r\n".encode()


def events(answer: Answer) -> list[tuple[str, str, Any]]:
    """Return the events of a stream that has ended: id, name and data of each."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found
