"""How a node lies: it speaks the job protocol with the project's own frames, signs with its own key, and runs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timezone

import attrs
import trio

from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Signer, Stream
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import Data, FrameReader, control_frame, data_frame
from plasm_core.protocol.messages import (
    FROM_CLIENT,
    Accepted,
    Attach,
    Attached,
    Credit,
    Heartbeat,
    Hello,
    Message,
    Offered,
    Possessed,
    Possession,
    Progress,
    Question,
    Refused,
    Result,
    State,
    Status,
    StatusIs,
    Submit,
    Uploads,
)
from plasm_core.records import Manifest, Outcome, job_id
from plasm_core.records.digest import sha256
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.run import Run
from plasm_core.signing import receipt_of, sign_receipt
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime

MANY = 2_000
"""Of the messages of a talkative node, in one write."""
_BEAT_S = 1.0
_TRICKLE_S = 0.2


@attrs.define
class Liar:
    """One identity. `turns` counts its lies, of which some kinds have several."""

    signer: Signer
    manifests: dict[str, bytes] = attrs.field(factory=dict)
    turns: Iterator[int] = attrs.field(factory=itertools.count)

    def receipt(self, job: str, outcome: Outcome, stdout: bytes) -> str:
        """Sign that a job ended so, which it has not: it never began."""
        manifest_json, now = self.manifests[job], datetime.now(timezone.utc)
        run = Run(
            outcome=outcome,
            gas_used=5,
            started_at=now,
            finished_at=now,
            wall_time_s=0.0,
            cpu_time_s=0.0,
            peak_memory_bytes=65_536,
        )
        receipt = receipt_of(
            run,
            {
                OutputStream.STDOUT: OutputDigest(size_bytes=len(stdout), sha256=sha256(stdout)),
                OutputStream.STDERR: OutputDigest(),
            },
            manifest_json=manifest_json,
            manifest=Manifest.from_json(manifest_json),
            runtime=WasmtimeRuntime(),
            isolation="process",
            node=self.signer.peer_id,
        )
        return sign_receipt(receipt, self.signer).to_json().decode()


class Gone(Exception):
    """All is said."""


class Talk:
    """A liar's side of one stream. `pause_s`: how long it waits after each byte that it sends."""

    def __init__(self, liar: Liar, stream: Stream, *, pause_s: float = 0.0) -> None:
        self.liar = liar
        self._stream = stream
        self._pause_s = pause_s
        self._reader = FrameReader(FROM_CLIENT)
        self._heard: list[Message | Data] = []

    async def send(self, data: bytes) -> None:
        """Send bytes, at its own pace."""
        if not self._pause_s:
            await self._stream.send_all(data)
            return
        for byte in data:
            await self._stream.send_all(bytes([byte]))
            await trio.sleep(self._pause_s)

    async def say(self, *messages: Message) -> None:
        """Send messages in one write."""
        await self.send(b"".join(map(control_frame, messages)))

    async def repeat(self, message: Message) -> None:
        """Talk without end, as fast as the other side takes it."""
        while True:
            await self.send(control_frame(message) * MANY)

    async def beat(self) -> None:
        """Be there without end."""
        while True:
            await self.say(Heartbeat())
            await trio.sleep(_BEAT_S)

    async def hear(self) -> Message | Data:
        """Return what the client says next."""
        while not self._heard:
            data = await self._stream.receive_some()
            if not data:
                raise Gone
            self._heard.extend(self._reader.feed(data))
        said = self._heard.pop(0)
        return await self.hear() if isinstance(said, Heartbeat) else said

    async def greet(self) -> None:
        """Introduce itself."""
        await self.say(Hello(peer=str(self.liar.signer.peer_id), agent="plasm/1"))

    async def opening(self) -> Submit | Attach:
        """Return what the client wants. Other questions get an answer, which is no lie worth telling."""
        said = await self.hear()
        if isinstance(said, Question):
            await self.say(StatusIs(job_id=said.job_id, status=status("QUEUED")))
            await self._stream.aclose()
            raise Gone
        if not isinstance(said, (Submit, Attach)):
            raise Gone
        return said

    async def offer(self, submit: Submit, *, credit: Uploads | None = None, wait: bool = True) -> str:
        """Offer to take a job, take its upload, unless it is not waited for, and return its id."""
        job = job_id(submit.manifest.encode())
        self.liar.manifests[job] = submit.manifest.encode()
        sizes = submit.sizes
        nothing = Uploads(module=0, args=0, env=0, stdin=0)
        await self.say(
            Offered(job_id=job, expires_s=60, challenge="00" * 32, received=nothing, credit=credit or sizes)
        )
        left = sizes.module + sizes.args + sizes.env + sizes.stdin if wait else 0
        while left > 0:
            said = await self.hear()
            if isinstance(said, Possession):
                await self.say(Possessed(known=False))
            elif isinstance(said, Data):
                left -= len(said.data)
        return job

    async def take(self, *, before: Sequence[Message] = ()) -> str:
        """Do all that a node does until it has accepted a job, and return its id. `before`: what it says before that."""
        await self.greet()
        opening = await self.opening()
        if isinstance(opening, Attach):
            if opening.job_id not in self.liar.manifests:
                await self.say(Refused(reason="unknown_job", message="there is no such job"))
                raise Gone
            await self.say(Attached(job_id=opening.job_id, status=status("QUEUED")))
            return opening.job_id
        job = await self.offer(opening)
        await self.say(*before, Accepted(job_id=job, status=status("QUEUED")))
        return job

    async def end(self, job: str, outcome: Outcome, stdout: bytes = b"", *, envelope: str = "") -> None:
        """Say that the job has ended so, with a receipt or something else instead."""
        ended = status(outcome.state, stdout=len(stdout), outcome=outcome.kind)
        await self.say(State(status=status("RUNNING")))
        if stdout:
            await self.send(data_frame(Channel.STDOUT, 0, stdout))
        receipt = envelope or self.liar.receipt(job, outcome, stdout)
        await self.say(Result(status=ended, envelope=receipt))
        await self._stream.aclose()


def status(state: str, *, stdout: int = 0, outcome: str | None = None) -> Status:
    """Return what a node says of a job."""
    attempt = 0 if state == "QUEUED" else 1
    return Status(
        state=JobState(state), attempt=attempt, stdout_bytes=stdout, stderr_bytes=0, outcome=outcome
    )


LIE = b"an output that nobody has computed\n"
_EXITED = Outcome(kind="exited", code=0)


async def silent(talk: Talk) -> None:
    """Say nothing at all, or no more than who it is."""
    if next(talk.liar.turns) % 2:
        await talk.greet()
        await talk.beat()
    await trio.sleep_forever()


async def slow(talk: Talk) -> None:
    """Say what a node says, a byte at a time."""
    await talk.take()
    await talk.beat()


async def heartbeats(talk: Talk) -> None:
    """Answer a submission with heartbeats without end."""
    await talk.greet()
    await talk.opening()
    await talk.repeat(Heartbeat())


async def progress(talk: Talk) -> None:
    """Tell without end how the module's check goes on."""
    await talk.greet()
    opening = await talk.opening()
    if isinstance(opening, Submit):
        await talk.offer(opening)
    await talk.repeat(Progress(phase="checking"))


async def credits(talk: Talk) -> None:
    """Give the credit without end that was given already."""
    await talk.greet()
    opening = await talk.opening()
    if isinstance(opening, Submit):
        await talk.offer(opening, credit=Uploads(module=0, args=0, env=0, stdin=0), wait=False)
    await talk.repeat(Credit(channel="module", upto=0))


async def states(talk: Talk) -> None:
    """Say without end that the job is running."""
    await talk.take()
    await talk.repeat(State(status=status("RUNNING")))


async def waiting(talk: Talk) -> None:
    """Accept, and never begin."""
    await talk.take()
    await talk.beat()


async def running(talk: Talk) -> None:
    """Accept, begin, and never end."""
    await talk.take()
    await talk.say(State(status=status("RUNNING")))
    await talk.beat()


async def receipt(talk: Talk) -> None:
    """Give an output with a receipt of nothing, of another output, or of another outcome."""
    job, liar = await talk.take(), talk.liar
    others = ("{}", liar.receipt(job, _EXITED, b"another"), liar.receipt(job, Outcome(kind="cancelled"), LIE))
    await talk.end(job, _EXITED, LIE, envelope=others[next(liar.turns) % 3])


async def tainting(talk: Talk) -> None:
    """Give a wrong byte of output, and then fail, or be gone."""
    job = await talk.take()
    if next(talk.liar.turns) % 2:
        await talk.say(State(status=status("RUNNING")))
        await talk.send(data_frame(Channel.STDOUT, 0, b"X"))
        raise StreamError("gone")
    await talk.end(job, Outcome(kind="system_error", detail="no luck"), b"X")


async def cancelled(talk: Talk) -> None:
    """Sign that the job was cancelled."""
    await talk.end(await talk.take(), Outcome(kind="cancelled"))


async def timed_out(talk: Talk) -> None:
    """Sign that the job's time was up."""
    await talk.end(await talk.take(), Outcome(kind="timed_out"))


async def refusing(talk: Talk) -> None:
    """Refuse each job, with a reason that passes, or that does not."""
    await talk.greet()
    await talk.opening()
    reason, again = (("queue_full", 1), ("policy", None), ("storage_full", 1 << 40))[
        next(talk.liar.turns) % 3
    ]
    await talk.say(Refused(reason=reason, message="not now", retry_after_s=again))


async def dropping(talk: Talk) -> None:
    """Break the stream, each time at another point."""
    turn = next(talk.liar.turns) % 5
    if turn == 1:
        await talk.greet()
    elif turn == 2:
        await talk.greet()
        opening = await talk.opening()
        if isinstance(opening, Submit):
            await talk.offer(opening)
    elif turn >= 3:
        await talk.take()
        if turn == 4:
            await talk.say(State(status=status("RUNNING")))
            await talk.send(data_frame(Channel.STDOUT, 0, LIE)[:20])
    raise StreamError("gone")


async def pouring(talk: Talk) -> None:
    """Send output without end."""
    await talk.take()
    await talk.say(State(status=status("RUNNING")))
    offset, piece = 0, bytes(65_536)
    while True:
        await talk.send(data_frame(Channel.STDOUT, offset, piece))
        offset += len(piece)


LIES: dict[str, Callable[[Talk], Awaitable[None]]] = {
    "silent": silent,
    "slow": slow,
    "heartbeats": heartbeats,
    "progress": progress,
    "credits": credits,
    "states": states,
    "waiting": waiting,
    "running": running,
    "receipt": receipt,
    "tainting": tainting,
    "cancelled": cancelled,
    "timed-out": timed_out,
    "refusing": refusing,
    "dropping": dropping,
    "pouring": pouring,
}
"""What is said to who hands in a job, by kind."""


async def tell(liar: Liar, kind: str, stream: Stream) -> None:
    """Lie to one client until it goes."""
    talk = Talk(liar, stream, pause_s=_TRICKLE_S if kind == "slow" else 0.0)
    try:
        await LIES[kind](talk)
    except Gone:
        return
