"""Following one job on a stream: its states, its outputs as credit allows, and its result."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import attrs
import trio

from plasm_core.daemon.change_event import News
from plasm_core.daemon.gathered_calls import GATHER_BYTES, WITHIN_S
from plasm_core.daemon.service import Service
from plasm_core.daemon.store import Job
from plasm_core.errors import OutputGoneError, ProtocolError, RefusedError
from plasm_core.protocol.channels import OUTPUTS
from plasm_core.protocol.messages import Status, withdraws_output
from plasm_core.protocol.node_session import NodeConversation
from plasm_core.records.job import JobState


@attrs.define
class JobFollower:
    """Sends a client the states, outputs and result of one job, in one conversation.

    `news`: tells of credit, and of the client's leaving. `send`: sends encoded frames.
    """

    service: Service
    conversation: NodeConversation
    news: News
    send: Callable[[bytes], Awaitable[None]]
    _output_sent_at: float = attrs.field(default=-math.inf, init=False)

    async def follow(self, job: Job, told: Status) -> None:
        """Send states, outputs as credit allows, and the result at the end. `told`: the status sent last."""
        conversation = self.conversation
        job = await self.service.current(job)
        track = self.service.track(job)
        news = track.news if track is not None else self.news

        with self.news.passed_on(news):  # credit, or the disconnect of the client
            if job.state is told.state is JobState.QUEUED:  # which is all there is to tell
                await news.after(news.count)
            while True:
                seen = news.count
                job = track.job if track is not None else job
                status = self.service.status(job)
                frames = conversation.state(status) if _differs(status, told) else b""
                told = status if frames else told
                rest = self._rest(job, status)
                await self.send(frames + (rest or b""))
                if rest is not None:
                    return
                if await self._send_outputs(job, status):
                    continue
                if job.envelope is not None and self._is_sent(status):
                    await self.send(conversation.result(status, job.envelope.decode()))
                    return
                await news.after(seen)

    def _rest(self, job: Job, status: Status) -> bytes | None:
        """Return the last frames of the outputs and the result; None if some of them would wait for the disk.

        Raises: `ProtocolError`.
        """
        conversation, outputs = self.conversation, []
        if job.envelope is None or job.attempt != conversation.attempt:
            return None
        for channel, (position, room) in conversation.room.items():
            left = status.output_bytes(channel.output) - position
            if left > room:
                return None
            if left > 0:
                try:
                    data = self.service.store.output_now(job, channel.output, position, left)
                except OutputGoneError:
                    return None
                if data is None or len(data) < left:
                    return None
                outputs.append((channel, data))
        frames = b"".join(conversation.output(channel, data) for channel, data in outputs)
        self._is_sent(status)  # true, or an error: the client may claim to have more than exists
        self.service.counters.add("sent_bytes_total", sum(len(data) for _, data in outputs))
        return frames + conversation.result(status, job.envelope.decode())

    async def _send_outputs(self, job: Job, status: Status) -> bool:
        """Send some of each output, and return whether there was any to send. `status` tells how much there is."""
        sent = False
        if job.attempt != self.conversation.attempt:
            return sent
        there = {channel: status.output_bytes(channel.output) for channel in OUTPUTS}
        left = {
            channel: there[channel] - position
            for channel, (position, room) in self.conversation.room.items()
            if room
        }
        if job.envelope is None and 0 < sum(left.values()) < GATHER_BYTES:
            # Each frame has a fixed cost.
            await trio.sleep_until(self._output_sent_at + WITHIN_S)
        for channel, (position, room) in self.conversation.room.items():
            if left.get(channel, 0) <= 0:
                continue
            try:
                store = self.service.store
                data = store.output_now(job, channel.output, position, room)
                if data is None:
                    data = await trio.to_thread.run_sync(
                        store.read_output, job, channel.output, position, room
                    )
            except OutputGoneError as exc:
                track = self.service.track(job)
                if track is not None or job.state.live:
                    return False  # the attempt is over: a message about the next one follows
                raise RefusedError("released", str(exc)) from exc
            if data and job.attempt == self.conversation.attempt:
                await self.send(self.conversation.output(channel, data))
                self.service.counters.add("sent_bytes_total", len(data))
                self._output_sent_at, sent = trio.current_time(), True
        return sent

    def _is_sent(self, status: Status) -> bool:
        positions = {channel: position for channel, (position, _) in self.conversation.room.items()}
        wanted = {channel: status.output_bytes(channel.output) for channel in OUTPUTS}
        if withdraws_output(status):
            return True
        beyond = [channel.label for channel in wanted if positions[channel] > wanted[channel]]
        if beyond:
            raise ProtocolError(f"there is less of {' and '.join(beyond)} than the client says it has")
        return positions == wanted


def _differs(status: Status, told: Status) -> bool:
    """Return whether a changed status is sent to the client.

    The sizes of the outputs are not compared: the client counts the bytes that it receives.
    """
    return (status.state, status.attempt, status.position, status.outcome) != (
        *(told.state, told.attempt, told.position, told.outcome),
    )
