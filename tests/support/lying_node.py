"""Nodes that lie: they speak the job protocol, run nothing, and answer as their script has it.

`python -m tests.support.lying_node SCRIPT ARGUMENT…` is such a node in a real daemon's place, with its arguments:
on the network it is found, dialled and proves its key as any other.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import trio

from plasm_core.background_tasks import alongside
from plasm_core.daemon.service import Service
from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Signer, Stream
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import Data, FrameReader, control_frame, data_frame
from plasm_core.protocol.messages import (
    FROM_CLIENT,
    Accepted,
    Attach,
    Attached,
    Fetch,
    Hello,
    Message,
    Offered,
    OutputContents,
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
from plasm_core.protocol.messages import Heartbeat as Beat
from plasm_core.records import Manifest, Outcome, job_id
from plasm_core.records.files import Product
from plasm_core.records.job import JobState
from plasm_core.records.manifest import GAS_SCHEDULES
from plasm_core.signing import sign_receipt
from plasm_core.testing import claims

STEPS = ("hello", "answer", "accept", "start", "run")
"""Where a node can stop: before it introduces itself, offers, accepts, says RUNNING, gives the result."""
TALK = ("silence", "heartbeats", "progress", "states", "output")
TALK_S = 1.0
HONEST = b"what the job writes\n"


@attrs.frozen(kw_only=True)
class Served:
    """What a node serves as an output of a job, `after_s` of heartbeats.

    `size` if it says another one than there is, then `talk` without end.
    """

    kind: str
    data: bytes = b""
    size: int | None = None
    talks: bool = False
    refuses: bool = False
    after_s: float = 0.0


@attrs.frozen(kw_only=True)
class Script:
    """What a node does.

    It `stops` before a step of `STEPS` and keeps up its `talk`, one of `TALK`. At the end it gives a receipt of
    `outcome` and `output`, `after_s` from when it said RUNNING. `forged` makes the envelope another. `shown`: the
    output that it sends, if that is not the receipt's. `state`, `node`: what its status says.
    """

    stops: str | None = None
    talk: str = "silence"
    outcome: Outcome = attrs.field(factory=lambda: Outcome(kind="exited", code=0))
    output: bytes = HONEST
    shown: bytes | None = None
    after_s: float = 0.0
    signer: Signer | None = None
    forged: Callable[[str], str] = str
    state: str | None = None
    node: str | None = None
    files: tuple[Product, ...] = ()
    """What its receipt says of the outputs that are files."""
    served: Mapping[str, Served] = attrs.field(factory=dict)
    """What it serves of them, by path."""
    told_after_s: float = 0.0
    """How long it takes to tell what it can."""


@attrs.define
class LyingNode:
    """A node with a script. `heard` are the questions it was asked, in order."""

    script: Script
    signer: Signer
    heard: list[Message] = attrs.field(factory=list)
    manifests: dict[str, bytes] = attrs.field(factory=dict)

    @property
    def submissions(self) -> int:
        """How often it was given a job."""
        return sum(isinstance(message, Submit) for message in self.heard)

    async def serve(self, stream: Stream) -> None:
        """Hold one conversation."""
        try:
            await _Talk(self, stream).hold()
        except (StreamError, EOFError):
            pass
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.aclose()

    def envelope(self, manifest: Manifest) -> str:
        """Return the receipt that it gives."""
        script = self.script
        receipt = claims.receipt(
            of=manifest, node=self.signer.peer_id, outcome=script.outcome, stdout=script.output
        )
        receipt = attrs.evolve(
            receipt,
            claims=attrs.evolve(receipt.claims, **_times(script.after_s)),
            files=script.files,
            result=attrs.evolve(receipt.result, gas_schedule=GAS_SCHEDULES[manifest.profile]),
        )
        return script.forged(sign_receipt(receipt, script.signer or self.signer).to_json().decode())


def _times(wall_s: float) -> dict[str, Any]:
    began = datetime.now(timezone.utc).replace(microsecond=0)
    return {
        "started_at": began,
        "finished_at": began + timedelta(seconds=wall_s),
        "wall_time_ms": int(wall_s * 1000),
        "cpu_time_ms": 0,
        "peak_memory_bytes": 65_536,
    }


class _Talk:
    def __init__(self, node: LyingNode, stream: Stream) -> None:
        self._node = node
        self._stream = stream
        self._reader = FrameReader(FROM_CLIENT)
        self._said: list[Message | Data] = []
        self._sending = trio.Lock()
        self._sent = 0

    async def hold(self) -> None:
        script = self._node.script
        await self._or_stop("hello")
        features = ("files",) if script.served else None
        await self._say(Hello(peer=str(self._node.signer.peer_id), agent="liar/1", features=features))
        question = await self._hear()
        self._node.heard.append(question)  # type: ignore[arg-type]
        if isinstance(question, Question):
            ended = Status(
                state=JobState.CANCELED, attempt=1, stdout_bytes=0, stderr_bytes=0, outcome="cancelled"
            )
            await self._say(StatusIs(job_id=question.job_id, status=ended))
            return
        if isinstance(question, Fetch):
            await self._serve_file(question)
            return
        job, manifest = self._asked(question)
        if isinstance(question, Submit):
            await self._or_stop("answer")
            files = None if question.sizes.files is None else 0
            nothing = Uploads(module=0, args=0, env=0, stdin=0, files=files)
            await self._say(
                Offered(
                    job_id=job,
                    expires_s=60,
                    challenge="00" * 32,
                    received=nothing,
                    credit=question.sizes,
                )
            )
            await self._uploaded(question.sizes)
            await self._or_stop("accept")
            await self._say(Accepted(job_id=job, status=self._status("QUEUED")))
            room = question.credit.stdout
        else:
            assert isinstance(question, Attach)
            await self._say(Attached(job_id=job, status=self._status("QUEUED")))
            room = question.credit.stdout
        if not room:
            return  # a client that only submits gives no credit
        await self._or_stop("start")
        await self._say(State(status=self._status("RUNNING")))
        await self._or_stop("run")
        if script.after_s:
            async with alongside(self._heed):
                await self._beat_for(script.after_s)
        shown = script.output if script.shown is None else script.shown
        for offset in range(0, len(shown), 10_000):
            await self._output(shown[offset : offset + 10_000])
        state = script.state or script.outcome.state
        given = attrs.evolve(self._status(state), outcome=script.outcome.kind, node=script.node)
        await self._say(Result(status=given, envelope=self._node.envelope(manifest)))

    async def _serve_file(self, fetch: Fetch) -> None:
        served = self._node.script.served.get(fetch.path, Served(kind="none"))
        if served.refuses:
            await self._say(Refused(reason="released", message="it is gone"))
            return
        size = len(served.data) if served.size is None else served.size
        await self._say(OutputContents(job_id=fetch.job_id, kind=served.kind, size=size))
        end = min(len(served.data), fetch.offset + fetch.length)
        async with alongside(self._heed):
            if served.after_s:
                await self._beat_for(served.after_s)
            for offset in range(fetch.offset, end, 10_000):
                data = served.data[offset : min(end, offset + 10_000)]
                await self._send(data_frame(Channel.CONTENTS, offset, data))
            while served.talks:
                await self._say(Beat())
                await trio.sleep(TALK_S)
            await trio.sleep(TALK_S)

    def _asked(self, question: Message | Data) -> tuple[str, Manifest]:
        if isinstance(question, Submit):
            manifest_json = question.manifest.encode()
            self._node.manifests[job_id(manifest_json)] = manifest_json
            return job_id(manifest_json), Manifest.from_json(manifest_json)
        assert isinstance(question, Attach)
        return question.job_id, Manifest.from_json(self._node.manifests[question.job_id])

    def _status(self, state: str) -> Status:
        attempt = 0 if state == "QUEUED" else 1
        return Status(state=JobState(state), attempt=attempt, stdout_bytes=self._sent, stderr_bytes=0)

    async def _or_stop(self, step: str) -> None:
        """Go no further if this is where the script stops; keep talking."""
        if self._node.script.stops != step:
            return
        async with alongside(self._heed):
            await self._talk(step)

    async def _talk(self, step: str) -> None:
        talk = self._node.script.talk
        while True:
            if talk == "heartbeats":
                await self._say(Beat())
            elif talk == "progress":
                await self._say(Progress(phase="checking"))
            elif talk == "states":
                await self._say(State(status=self._status("RUNNING" if step == "run" else "QUEUED")))
            elif talk == "output":
                await self._output(b"x")
            await trio.sleep(TALK_S)

    async def _beat_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                await self._say(Beat())
                await trio.sleep(TALK_S)

    async def _heed(self) -> None:
        """Take what the client says, to no purpose, until it hangs up."""
        with trio.CancelScope() as scope:
            while True:
                try:
                    data = await self._stream.receive_some()
                except StreamError:
                    return
                if not data:
                    scope.cancel()
                    return

    async def _output(self, data: bytes) -> None:
        await self._send(data_frame(Channel.STDOUT, self._sent, data))
        self._sent += len(data)

    async def _uploaded(self, sizes: Uploads) -> None:
        left = sizes.total
        while left:
            said = await self._hear()
            left -= len(said.data) if isinstance(said, Data) else 0

    async def _say(self, message: Message) -> None:
        await self._send(control_frame(message))

    async def _send(self, frame: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(frame)

    async def _hear(self) -> Message | Data:
        while True:
            while not self._said:
                data = await self._stream.receive_some()
                if not data:
                    raise EOFError
                self._said += self._reader.feed(data)
            said = self._said.pop(0)
            if not isinstance(said, Beat):
                return said


OTHER = claims.SeedSigner(b"other key".ljust(32, b"."))
SCRIPTS = {
    "honest": Script(),
    "junk": Script(forged=lambda _envelope: "{}"),
    "altered": Script(forged=lambda envelope: envelope.replace('"sig":"', '"sig":"AAAA', 1)),
    "others_key": Script(signer=OTHER),
    "other_output": Script(shown=b"something else\n"),
    "other_state": Script(state="EXECUTOR_ERROR"),
    "cancelled": Script(outcome=Outcome(kind="cancelled"), output=b""),
    "timed_out": Script(outcome=Outcome(kind="timed_out"), output=b""),
    "failed": Script(outcome=Outcome(kind="system_error", detail="no memory"), output=b""),
    "tainted_failure": Script(
        outcome=Outcome(kind="system_error", detail="no memory"), output=b"", shown=b"w"
    ),
    "endless": Script(shown=bytes(1 << 20)),
    "other_files": Script(
        files=(Product(path="out", kind="tree", sha256="00" * 32),),
        served={"out": Served(kind="tree", data=b"no files at all")},
    ),
    **{f"stops_at_{step}": Script(stops=step, talk="heartbeats") for step in STEPS},
}


def main(script: Script, arguments: list[str]) -> None:
    """Take a daemon's place."""
    from plasm_core.daemon import main as daemon

    def handler(service: Service) -> Callable[[Stream], Awaitable[None]]:
        return LyingNode(script, service.node.signer).serve

    daemon._handler = handler
    daemon.main(arguments)


if __name__ == "__main__":
    main(SCRIPTS[sys.argv[1]], sys.argv[2:])
