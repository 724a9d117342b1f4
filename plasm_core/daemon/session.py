"""One stream: a client's conversation with the daemon."""

from __future__ import annotations

import logging
import math

import trio

import plasm_core
from plasm_core.abc import Stream
from plasm_core.alongside import alongside
from plasm_core.daemon.news import News
from plasm_core.daemon.offers import Offer, SupersededError
from plasm_core.daemon.service import Service
from plasm_core.errors import (
    InvalidRecordError,
    OutputGoneError,
    PlasmError,
    ProtocolError,
    RefusedError,
    StorageError,
    StorageFullError,
    StreamError,
)
from plasm_core.printable import cleaned
from plasm_core.records import Manifest, job_id
from plasm_core.store import Job
from plasm_core.store import Stream as Output
from plasm_core.wire.frames import Channel, Data
from plasm_core.wire.messages import (
    AskCapabilities,
    AskStatus,
    Attach,
    Cancel,
    Error,
    Hello,
    Message,
    Possession,
    Question,
    Refused,
    Release,
    Status,
    Submit,
    withdraws_output,
)
from plasm_core.wire.node import NodeConversation, Phase

log = logging.getLogger(__name__)

AGENT = f"plasm/{plasm_core.__version__}"
HEARTBEAT_S = 10.0
SILENCE_S = 30.0
PATIENCE_S = 30.0
"""How long a client may keep the node waiting for what takes no work."""
_LINGER_S = 5.0
_FULL_S = 60
_GATHER_S, _GATHER_BYTES = 0.02, 1 << 14
"""Less output than this is sent no sooner than so long after the last: a frame costs the same, however small."""

_OUTPUTS = {Channel.STDOUT: Output.STDOUT, Channel.STDERR: Output.STDERR}


class _Left(Exception):
    pass


class Session:
    """Serves one client on one stream."""

    def __init__(self, service: Service, stream: Stream) -> None:
        self._service = service
        self._stream = stream
        self._conversation = NodeConversation()
        self._sending = trio.Lock()
        self._sent_at = trio.current_time()
        self._said: trio.MemorySendChannel[Message | Data]
        self._heard: trio.MemoryReceiveChannel[Message | Data]
        self._said, self._heard = trio.open_memory_channel(0)
        self._news = News()
        self._is_amid_frame = False
        self._output_sent_at = -math.inf

    async def serve(self) -> None:
        """Converse until all is said, or the client goes. Never raises what the client is to blame for."""
        self._service.counters.add("sessions_total")
        try:
            try:
                await self._send(self._conversation.hello(Hello(peer=str(self._service.peer), agent=AGENT)))
                async with alongside(self._read, self._beat):
                    await self._converse()
            except ProtocolError as exc:
                await self._complain("protocol", str(exc))
            except SupersededError as exc:
                await self._complain("superseded", str(exc))
            except trio.TooSlowError:
                await self._complain("timeout", f"nothing came for {PATIENCE_S:.0f} s")
            except StorageError as exc:
                log.error("storage failed reason=%s", exc)
                await self._complain("internal", "the node's storage failed")
            except PlasmError as exc:
                if isinstance(exc, StreamError):
                    raise
                log.error("session failed reason=%s", exc)
                await self._complain("internal", "the node failed")
            await self._linger()
        except (_Left, StreamError) as exc:
            log.debug("client left reason=%s", exc)

    async def _send(self, frames: bytes) -> None:
        if frames:
            async with self._sending:
                self._is_amid_frame = True
                await self._stream.send_all(frames)
                self._is_amid_frame = False
                self._sent_at = trio.current_time()

    async def _complain(self, code: str, message: str) -> None:
        log.debug("conversation broken off code=%s reason=%s", code, message)
        self._service.counters.add("sessions_broken_total", code=code)
        if self._is_amid_frame:
            return  # what is said now would be taken for the rest of it
        with trio.move_on_after(_LINGER_S):
            await self._send(self._conversation.error(code, cleaned(message, maximum=1000)))

    async def _linger(self) -> None:
        """End our side, and let the client take what it has not read: closing at once could discard it."""
        with trio.move_on_after(_LINGER_S):
            await self._stream.aclose()

    async def _beat(self) -> None:
        while True:
            due = self._sent_at + HEARTBEAT_S
            if trio.current_time() < due:
                await trio.sleep_until(due)
            else:
                await self._send(self._conversation.heartbeat())

    async def _read(self) -> None:
        """Take what the client says, no faster than it is dealt with."""
        while True:
            with trio.move_on_after(SILENCE_S) as scope:
                data = await self._stream.receive_some()
            if scope.cancelled_caught:
                raise StreamError(f"heard nothing for {SILENCE_S:.0f} s")
            if not data:
                self._conversation.end()
                raise _Left("it closed")
            for item in self._conversation.receive(data):
                if isinstance(item, Error):
                    raise _Left(f"{item.code}: {item.message}")
                await self._said.send(item)
                await self._stream.pause()
            self._news.tell()

    async def _next(self) -> Message | Data:
        with trio.fail_after(PATIENCE_S):
            return await self._heard.receive()

    async def _converse(self) -> None:
        """Answer the opening message."""
        opening = await self._next()
        try:
            if isinstance(opening, Submit):
                try:
                    await self._submit(opening)
                except StorageFullError:
                    raise
                except StorageError as exc:
                    if self._conversation.phase is Phase.FOLLOWING:
                        raise
                    log.error("job refused reason=storage_failed detail=%s", exc)
                    raise RefusedError("storage_failed", "the node's disk fails") from exc
            elif isinstance(opening, Attach):
                job = await self._service.find(opening.job_id, bytes.fromhex(opening.token))
                await self._attached(job)
            elif isinstance(opening, Question):
                await self._answer(opening)
            elif isinstance(opening, AskCapabilities):
                await self._send(self._conversation.capabilities(self._service.capabilities.envelope()))
        except RefusedError as exc:
            await self._refuse(exc)
        except StorageFullError as exc:
            await self._refuse(
                RefusedError("storage_full", "the node has no room for this now", retry_after_s=_FULL_S)
            )
            log.warning("job refused reason=storage_full detail=%s", exc)

    async def _refuse(self, exc: RefusedError) -> None:
        if self._conversation.phase is Phase.FOLLOWING:
            await self._complain(exc.reason, str(exc))
            return
        log.info("refused reason=%s", exc.reason)
        self._service.counters.add("jobs_refused_total", reason=exc.reason)
        refusal = Refused(
            reason=exc.reason,
            message=cleaned(str(exc), maximum=_MAX_WORDS),
            hint=cleaned(exc.hint, maximum=_MAX_WORDS) if exc.hint else None,
            retry_after_s=exc.retry_after_s,
        )
        await self._send(self._conversation.refused(refusal))

    async def _answer(self, question: Question) -> None:
        with self._service.answering():
            job = await self._service.find(question.job_id, bytes.fromhex(question.token))
            if isinstance(question, Cancel):
                job = await self._service.cancel(job)
            elif isinstance(question, Release):
                job = await self._service.release(job)
            else:
                assert isinstance(question, AskStatus)
            await self._send(self._conversation.status(job.job_id, self._service.status(job)))

    async def _submit(self, submit: Submit) -> None:
        manifest_json = submit.manifest.encode()
        try:
            manifest = Manifest.from_json(manifest_json)
        except InvalidRecordError as exc:
            raise RefusedError("invalid_manifest", str(exc)) from exc
        token = bytes.fromhex(submit.token)
        identity = job_id(manifest_json)
        offers = self._service.offers
        while (existing := await self._service.look_up(identity, token)) is None:
            if not await offers.take_over((identity, token)):
                break
        if existing is not None:
            await self._attached(existing)
            return
        peer, group = self._stream.remote_peer, self._stream.remote_group
        self._service.check(manifest, submit, stranger=peer)
        owner = self._service.owners.of(peer, group)
        offer = await offers.make((identity, token), owner, manifest, submit)
        with offers.hold(offer):
            job, created = await self._upload(offer, token)
        status = self._service.status(job)
        answer = self._conversation.accepted if created else self._conversation.attached
        await self._send(answer(identity, status))
        await self._follow(job, status)

    async def _upload(self, offer: Offer, token: bytes) -> tuple[Job, bool]:
        conversation, offers = self._conversation, self._service.offers
        self._service.counters.add("offers_total")
        await self._send(
            conversation.offered(
                offer.key[0],
                expires_s=offers.limits.offer_s,
                challenge=offer.challenge.hex(),
                received=offer.received,
            )
        )
        while not offer.is_complete:
            item = await self._next()
            if isinstance(item, Possession):
                known = await offers.prove(offer, item.proof)
                await self._send(conversation.possessed(known))
            elif isinstance(item, Data):
                await offers.write(offer, item.channel, item.data)
                self._service.counters.add("received_bytes_total", len(item.data))
                await self._send(conversation.credit(item.channel))
        phases: list[str] = []
        is_stranger = bool(offer.owner.counted)
        untold = list(_TOLD_TO_STRANGERS) if is_stranger and offer.route == "here" else []

        def progress(phase: str) -> None:
            phases.append(_PHASES.get(phase, "checking"))
            self._news.tell()

        async def say(phase: str) -> None:
            # A phase that is passed over would tell a stranger that somebody else has had this module run.
            said = untold[: untold.index(phase) + 1] if phase in untold else [] if is_stranger else [phase]
            del untold[: len(said)]
            for item in said:
                await self._send(conversation.progress(item))

        async def tell() -> None:
            while True:
                seen = self._news.count
                while phases:
                    await say(phases.pop(0))
                await self._news.after(seen)

        async with alongside(tell):
            accepted = await self._service.accept(offer, token, progress)
            async with self._sending:  # what is being told is told to its end
                pass
        if untold:
            await say(untold[-1])
        return accepted

    async def _attached(self, job: Job) -> None:
        status = self._service.status(job)
        await self._send(self._conversation.attached(job.job_id, status))
        await self._follow(job, status)

    async def _follow(self, job: Job, told: Status) -> None:
        """Tell states, send outputs as there is credit, and the result at the end. `told` is told already."""
        conversation = self._conversation
        job = await self._service.current(job)
        track = self._service.track(job)
        news = track.news if track is not None else self._news

        async def listen() -> None:
            seen = self._news.count
            while news is not self._news:  # credit, or the client's going
                seen = await self._news.after(seen)
                news.tell()

        async with alongside(listen):
            while True:
                seen = news.count
                job = track.job if track is not None else job
                status = self._service.status(job)
                if _differs(status, told):
                    await self._send(conversation.state(status))
                    told = status
                if await self._send_outputs(job, status):
                    continue
                if job.envelope is not None and self._is_sent(status):
                    await self._send(conversation.result(status, job.envelope.decode()))
                    return
                await news.after(seen)

    async def _send_outputs(self, job: Job, status: Status) -> bool:
        """Send some of each output, and return whether there was any to send. `status` tells how much there is."""
        sent = False
        if job.attempt != self._conversation.attempt:
            return sent
        there = {Channel.STDOUT: status.stdout_bytes, Channel.STDERR: status.stderr_bytes}
        left = {
            channel: there[channel] - position
            for channel, (position, room) in self._conversation.room.items()
            if room
        }
        if job.envelope is None and 0 < sum(left.values()) < _GATHER_BYTES:
            await trio.sleep_until(self._output_sent_at + _GATHER_S)
        for channel, (position, room) in self._conversation.room.items():
            if left.get(channel, 0) <= 0:
                continue
            try:
                data = await trio.to_thread.run_sync(
                    self._service.store.read_output, job, _OUTPUTS[channel], position, room
                )
            except OutputGoneError as exc:
                track = self._service.track(job)
                if track is not None or job.state.live:
                    return False  # the attempt is over: its successor is about to be told of
                raise RefusedError("released", str(exc)) from exc
            if data and job.attempt == self._conversation.attempt:
                await self._send(self._conversation.output(channel, data))
                self._service.counters.add("sent_bytes_total", len(data))
                self._output_sent_at, sent = trio.current_time(), True
        return sent

    def _is_sent(self, status: Status) -> bool:
        positions = {channel: position for channel, (position, _) in self._conversation.room.items()}
        wanted = {Channel.STDOUT: status.stdout_bytes, Channel.STDERR: status.stderr_bytes}
        if withdraws_output(status):
            return True
        beyond = [channel.label for channel in wanted if positions[channel] > wanted[channel]]
        if beyond:
            raise ProtocolError(f"there is less of {' and '.join(beyond)} than the client says it has")
        return positions == wanted


_MAX_WORDS = 2000
_TOLD_TO_STRANGERS = ("checking", "compiling")
_PHASES = {"validating": "checking", "checking": "checking", "compiling": "compiling"}


def _differs(status: Status, told: Status) -> bool:
    """Return whether a client should be told: the bytes of output it sees by themselves."""
    return (status.state, status.attempt, status.position, status.outcome) != (
        *(told.state, told.attempt, told.position, told.outcome),
    )
