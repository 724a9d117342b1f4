"""One stream: a client's conversations with the daemon, one after the other."""

from __future__ import annotations

import functools
import logging

import trio

from plasm_core.background_tasks import alongside
from plasm_core.daemon.change_event import News
from plasm_core.daemon.job_follower import JobFollower
from plasm_core.daemon.offer import Offer, SupersededError
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.service import Service
from plasm_core.daemon.store import Job
from plasm_core.daemon.store.left_files import LeftFile
from plasm_core.daemon.upload_writer import UploadWriter
from plasm_core.errors import (
    DiskFullError,
    InvalidRecordError,
    OutputGoneError,
    PlasmError,
    ProtocolError,
    RefusedError,
    StorageError,
    StorageFullError,
    StreamError,
)
from plasm_core.plugins.interfaces import Stream
from plasm_core.printable import cleaned
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import (
    SEALED_MEMORY,
    AskCapabilities,
    AskStatus,
    Attach,
    Cancel,
    Error,
    Fetch,
    Hello,
    Message,
    OutputContents,
    Question,
    Refused,
    Release,
    SealedMemory,
    Submit,
)
from plasm_core.protocol.node_session import NodeConversation, NodePhase
from plasm_core.records import Manifest, job_id
from plasm_core.version import __version__

log = logging.getLogger(__name__)

AGENT = f"plasm/{__version__}"
HEARTBEAT_S = 10.0
SILENCE_S = 30.0
PATIENCE_S = 30.0
"""How long a client may keep the node waiting for what takes no work."""
KEEP_S = 5
"""How long a stream is kept for another conversation. Less than `HEARTBEAT_S`: neither side sends on it meanwhile."""
_LINGER_S = 5.0
_FULL_S = 60
_LOOK_S = 2.0
"""How often a fetch looks whether its job is still there."""
_AHEAD = 4
"""How many messages and data frames of a client may wait to be processed, so that reading and processing need not take
turns for each."""


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
        self._said, self._heard = trio.open_memory_channel(_AHEAD)
        self._listens_since: float | None = None
        self._news = News()
        self._is_amid_frame = False
        self._owner: Owner | None = None

    async def serve(self) -> None:
        """Serve the stream until the conversation ends or the client leaves.

        Never raises an error that the client caused.
        """
        self._service.counters.add("sessions_total")
        try:
            try:
                features = self._service.features
                if self._stream.passes_descriptors:
                    features = (*features, SEALED_MEMORY)
                hello = Hello(peer=str(self._service.peer), agent=AGENT, keep_s=KEEP_S, features=features)
                await self._send(self._conversation.hello(hello))
                async with alongside(self._read, self._beat, self._end_silence):
                    await self._converse(await self._next())
                    while (opening := await self._another()) is not None:
                        await self._converse(opening)
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
        if not frames:
            return
        try:
            self._sending.acquire_nowait()  # which is faster
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            self._is_amid_frame = True
            await self._stream.send_all(frames)
            self._is_amid_frame = False
            self._sent_at = trio.current_time()
        finally:
            self._sending.release()

    async def _complain(self, code: str, message: str) -> None:
        log.debug("conversation broken off code=%s reason=%s", code, message)
        self._service.counters.add("sessions_broken_total", code=code)
        if self._is_amid_frame:
            return  # a message sent now would be read as the rest of it
        with trio.move_on_after(_LINGER_S):
            await self._send(self._conversation.error(code, cleaned(message, maximum=1000)))

    async def _linger(self) -> None:
        """Close our side for writing, and wait for the client to read the rest: closing at once could discard it."""
        with trio.move_on_after(_LINGER_S):
            await self._stream.aclose()

    async def _beat(self) -> None:
        while True:
            due = self._sent_at + HEARTBEAT_S
            if trio.current_time() < due:
                await trio.sleep_until(due)
            else:
                await self._send(self._conversation.heartbeat())

    async def _end_silence(self) -> None:
        """End the session when the client sends nothing, no heartbeat either. Raises: `StreamError`.

        One task for the whole session: a timeout of each read would cost more than the read.
        """
        while True:
            now = trio.current_time()
            due = (now if self._listens_since is None else self._listens_since) + SILENCE_S
            if now >= due:
                raise StreamError(f"received nothing for {SILENCE_S:.0f} s")
            await trio.sleep_until(due)

    async def _read(self) -> None:
        """Read the client's messages, no faster than they are processed."""
        while True:
            self._listens_since = trio.current_time()
            data = await self._stream.receive_some()
            self._listens_since = None
            if not data:
                self._conversation.end()
                raise _Left("it closed")
            for item in self._conversation.receive(data):
                if isinstance(item, Error):
                    raise _Left(f"{item.code}: {item.message}")
                if item is not None:
                    try:
                        self._said.send_nowait(item)
                    except trio.WouldBlock:
                        await self._said.send(item)
                await self._stream.pause()
            self._news.tell()

    async def _next(self) -> Message | Data:
        try:
            return self._heard.receive_nowait()
        except trio.WouldBlock:
            with trio.fail_after(PATIENCE_S):
                return await self._heard.receive()

    async def _another(self) -> Message | Data | None:
        """Return the opening message of another conversation; None if the stream is not kept, or nothing came."""
        if not (self._conversation.is_over or self._service.is_stopping):
            with trio.move_on_after(KEEP_S):
                return await self._heard.receive()
        return None

    async def _converse(self, opening: Message | Data) -> None:
        """Answer an opening message."""
        try:
            if isinstance(opening, Submit):
                try:
                    await self._submit(opening)
                except StorageFullError:
                    raise
                except StorageError as exc:
                    if self._conversation.phase is NodePhase.FOLLOWING:
                        raise
                    await self._refuse(
                        RefusedError("storage_failed", "the node's disk fails"),
                        detail=exc,
                        level=logging.ERROR,
                    )
            elif isinstance(opening, Attach):
                job = await self._service.find(opening.job_id, bytes.fromhex(opening.token))
                await self._attached(job)
            elif isinstance(opening, Question):
                await self._answer(opening)
            elif isinstance(opening, Fetch):
                await self._send_file(opening)
            elif isinstance(opening, AskCapabilities):
                await self._send(self._conversation.capabilities(self._service.capabilities.envelope()))
        except RefusedError as exc:
            await self._refuse(exc)
        except DiskFullError as exc:
            hint = "its operator has to free some space on the file system of its state directory"
            refusal = RefusedError(
                "storage_full", "the node's disk is full", retry_after_s=_FULL_S, hint=hint
            )
            await self._refuse(refusal, detail=exc, level=logging.ERROR)
        except StorageFullError as exc:
            refusal = RefusedError("storage_full", "the node has no room for this now", retry_after_s=_FULL_S)
            await self._refuse(refusal, detail=exc, level=logging.WARNING)

    async def _refuse(
        self, exc: RefusedError, *, detail: StorageError | None = None, level: int = logging.INFO
    ) -> None:
        if self._conversation.phase is NodePhase.FOLLOWING:
            await self._complain(exc.reason, str(exc))
            return
        if detail is None:
            log.log(level, "refused reason=%s", exc.reason)
        else:
            log.log(level, "refused reason=%s detail=%s", exc.reason, detail)
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

    async def _send_file(self, fetch: Fetch) -> None:
        """Send the fetched bytes of an output as credit allows."""
        conversation, service = self._conversation, self._service
        job = await service.find(fetch.job_id, bytes.fromhex(fetch.token))
        if job.state.live:
            raise RefusedError("not_ended", "the job has not ended")
        try:
            left = await trio.to_thread.run_sync(service.store.open_file, job, fetch.path)
        except OutputGoneError as exc:
            raise RefusedError("released", str(exc)) from exc
        if left is None:
            await self._send(conversation.contents(OutputContents(job_id=job.job_id, kind="none", size=0)))
            return
        with left:
            async with alongside(functools.partial(self._while_kept, fetch)):
                await self._send_contents(left, job)

    async def _while_kept(self, fetch: Fetch) -> None:
        """Break a fetch off when its job is gone: a file that is open keeps its room on the disk."""
        while True:
            await trio.sleep(_LOOK_S)
            try:
                await self._service.find(fetch.job_id, bytes.fromhex(fetch.token))
            except RefusedError as exc:
                raise _Left(f"the output that it fetches is gone: {exc.reason}") from exc

    async def _send_contents(self, left: LeftFile, job: Job) -> None:
        conversation = self._conversation
        found = OutputContents(job_id=job.job_id, kind=left.kind, size=left.size_bytes)
        await self._send(conversation.contents(found))
        while wanted := conversation.left_to_fetch:
            seen = self._news.count
            position, room = conversation.room[Channel.CONTENTS]
            if not room:
                await self._news.after(seen)
                continue
            data = await trio.to_thread.run_sync(left.read, position, min(room, wanted))
            if not data:
                raise StorageError("a file that a job left was cut short")
            await self._send(conversation.fetched(data))
            self._service.counters.add("sent_bytes_total", len(data))

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
        peer = self._stream.remote_peer
        self._service.check(manifest, submit, stranger=peer)
        if self._owner is None:
            self._owner = self._service.owners.of(peer, self._stream.remote_group)
        owner = self._owner
        offer = await offers.make((identity, token), owner, manifest, submit)
        with offers.hold(offer):
            job, created = await self._upload(offer, token)
        status = self._service.status(job)
        answer = self._conversation.accepted if created else self._conversation.attached
        follows = self._conversation.follows  # read before the answer: then the next conversation may begin
        await self._send(answer(identity, status))
        if follows:
            await JobFollower(self._service, self._conversation, self._news, self._send).follow(job, status)

    async def _upload(self, offer: Offer, token: bytes) -> tuple[Job, bool]:
        conversation, offers = self._conversation, self._service.offers
        self._service.counters.add("offers_total")
        self._stream.accept_descriptors(offer.manifest.files is not None)
        await self._send(
            conversation.offered(
                offer.key[0],
                expires_s=offers.limits.offer_s,
                challenge=offer.challenge.hex(),
                received=offer.received,
            )
        )
        writer = UploadWriter(offers, offer)
        async with writer.writing():
            while not writer.is_complete:
                item = await self._next()
                before = writer.taken_bytes
                fd = self._stream.take_descriptor() if isinstance(item, SealedMemory) else None
                await self._send(await writer.receive(conversation, item, fd))
                self._service.counters.add("received_bytes_total", writer.taken_bytes - before)
            await writer.settle()
        self._stream.accept_descriptors(False)
        phases: list[str] = []
        is_stranger = bool(offer.owner.counted)
        untold = list(_TOLD_TO_STRANGERS) if is_stranger and offer.route == "here" else []

        def progress(phase: str) -> None:
            phases.append(_PHASES.get(phase, "checking"))
            self._news.tell()

        async def say(phase: str) -> None:
            # Skipping a phase would tell a stranger that another client has run this module here.
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

        if self._service.is_at_hand(offer):  # there is no progress to tell
            accepted = await self._service.accept(offer, token, progress)
        else:
            async with alongside(tell):
                accepted = await self._service.accept(offer, token, progress)
                async with self._sending:  # a message that is being sent is sent completely
                    pass
        if untold:
            await say(untold[-1])
        return accepted

    async def _attached(self, job: Job) -> None:
        status = self._service.status(job)
        follows = self._conversation.follows
        await self._send(self._conversation.attached(job.job_id, status))
        if follows:
            await JobFollower(self._service, self._conversation, self._news, self._send).follow(job, status)


_MAX_WORDS = 2000
_TOLD_TO_STRANGERS = ("checking", "compiling")
_PHASES = {"validating": "checking", "checking": "checking", "compiling": "compiling"}
