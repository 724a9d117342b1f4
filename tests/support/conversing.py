"""One conversation with a daemon, step by step, by the real client's machine over a socket that waits."""

from __future__ import annotations

import collections
import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from plasm_core.client import Submission
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.client_session import ClientConversation
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import (
    NOTHING,
    Accepted,
    Attach,
    Hello,
    Message,
    Offered,
    Outputs,
    Refused,
    Result,
    Submit,
    Uploads,
)
from plasm_core.records import Handle, PeerId

M = TypeVar("M", bound=Message)

DEADLINE_S = 60
PROTOCOL = b"/phase/job/1.0.0\n"
PLENTY = Outputs(stdout=1 << 20, stderr=1 << 20)


def dial(path: Path) -> socket.socket:
    """Connect to a daemon's socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    sock.connect(str(path))
    return sock


def dial_as(user: int, path: Path) -> socket.socket:
    """Connect to a daemon's socket as another user would; only root can."""
    code = (
        "import os, socket, sys\n"
        "back = socket.socket(fileno=int(sys.argv[1]))\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "os.seteuid(int(sys.argv[2]))\n"
        "sock.connect(sys.argv[3])\n"
        "os.seteuid(0)\n"
        "socket.send_fds(back, [b'.'], [sock.fileno()])\n"
    )
    here, there = socket.socketpair()
    with here, there:
        command = [sys.executable, "-c", code, str(there.fileno()), str(user), str(path)]
        subprocess.run(command, pass_fds=[there.fileno()], check=True, timeout=DEADLINE_S)
        _, fds, _, _ = socket.recv_fds(here, 1, 1)
    sock = socket.socket(fileno=fds[0])
    sock.settimeout(DEADLINE_S)
    return sock


class Caller:
    """A conversation. As a context it hangs up."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.conversation = ClientConversation()
        self.heard: collections.deque[Message | Data] = collections.deque()
        self.output = dict.fromkeys(OUTPUTS, b"")
        sock.sendall(PROTOCOL)
        greeting = b""
        while len(greeting) < len(PROTOCOL):
            greeting += self._recv(len(PROTOCOL) - len(greeting))
        assert greeting == PROTOCOL
        self.peer = PeerId.parse(self.expect(Hello).peer)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _recv(self, most: int = 65_536) -> bytes:
        data = self.sock.recv(most)
        if not data:
            raise EOFError("the daemon closed")
        return data

    def pump(self) -> None:
        """Take some bytes."""
        self.heard.extend(filter(None, self.conversation.receive(self._recv())))

    def receive(self) -> Message | Data:
        """Return what is said next. Output is kept, too."""
        while not self.heard:
            self.pump()
        said = self.heard.popleft()
        if isinstance(said, Data) and said.channel in self.output:
            if said.offset == 0:
                self.output[said.channel] = b""
            self.output[said.channel] += said.data
        return said

    def expect(self, kind: type[M]) -> M:
        """Return the next message, which must be of a kind. Output and what comes on the way are passed over."""
        while True:
            said = self.receive()
            if isinstance(said, kind):
                return said
            assert not isinstance(said, Refused), said

    def refusal(self) -> Refused:
        """Return the refusal that must be next."""
        said = self.receive()
        assert isinstance(said, Refused), said
        return said

    def ask(self, message: Message) -> None:
        """Say what is wanted."""
        self.sock.sendall(self.conversation.ask(message))

    def submit(
        self, submission: Submission, credit: Outputs = PLENTY, *, sizes: Uploads | None = None
    ) -> Handle:
        """Ask to run a job."""
        handle = submission.handle(self.peer)
        self.ask(
            Submit(
                manifest=submission.manifest_json.decode(),
                token=handle.token().hex(),
                sizes=sizes or submission.sizes,
                credit=credit,
            )
        )
        return handle

    def upload(self, submission: Submission, limit: int | None = None) -> int:
        """Send all, or so many bytes, of what a submission has. Return how many were sent."""
        sent = 0
        while not self.conversation.is_uploaded and (limit is None or sent < limit):
            room = {channel: at for channel, at in self.conversation.room.items() if at[1]}
            if not room:
                self.pump()
                continue
            channel, (position, size) = next(iter(room.items()))
            size = min(size, size if limit is None else limit - sent)
            data = submission.sources[channel].read(position, size)
            self.sock.sendall(self.conversation.upload(channel, data))
            sent += size
        return sent

    def attach(self, handle: Handle, offsets: Mapping[Channel, int], attempt: int) -> None:
        """Ask to follow a job from offsets."""
        given = {channel.label: offset for channel, offset in offsets.items()}
        self.ask(
            Attach(
                job_id=handle.job_id,
                token=handle.token().hex(),
                credit=Outputs(**{label: offset + (1 << 20) for label, offset in given.items()}),
                offsets=Outputs(**given),
                attempt=attempt,
            )
        )

    def consume(self, limit: int | None = None) -> Result | None:
        """Take output, giving credit, until the result, or until there are so many bytes of stdout."""
        while limit is None or len(self.output[Channel.STDOUT]) < limit:
            said = self.receive()
            if isinstance(said, Result):
                return said
            if isinstance(said, Data) and self.conversation.phase.name == "FOLLOWING":
                with contextlib.suppress(BrokenPipeError):  # the node may have said all
                    self.sock.sendall(self.conversation.credit(said.channel, 1 << 20))
        return None


def calling(path: Path) -> Caller:
    """Return a new conversation with the daemon at a socket."""
    return Caller(dial(path))


def accept(caller: Caller, submission: Submission, credit: Outputs = NOTHING) -> Handle:
    """Hand a job in."""
    handle = caller.submit(submission, credit)
    caller.expect(Offered)
    caller.upload(submission)
    caller.expect(Accepted)
    return handle
