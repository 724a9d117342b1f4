"""Send a job's module and input to a node that has offered to take it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.connection import Link
from plasm_core.client.upload import Bytes, Pack, Source
from plasm_core.client.watcher import Watcher
from plasm_core.errors import ConnectionLostError
from plasm_core.protocol.channels import MAX_DATA_BYTES, Channel
from plasm_core.protocol.messages import SEALED_MEMORY, Offered
from plasm_core.quantities import shown_bytes

PROVE_FROM_BYTES = 256 << 10
"""A module that is smaller is sent at once: asking whether the node has it takes as long."""
_AT_ONCE_BYTES = 64 << 10
"""An upload of at most so many bytes is sent in one write, by the task that then waits for the answer."""
_TELL_S = 0.25
_FAST_BYTES, _FAST_S = 1 << 19, 0.1
"""To a node that takes a piece in so little time, so much is sent in one go: each go takes turns of both loops."""


@asynccontextmanager
async def uploading(
    link: Link, sources: dict[Channel, Source], offered: Offered, watch: Watcher, *, has_files: bool
) -> AsyncIterator[None]:
    """Send what the node has not: a small upload before the block begins, a large one by a task beside it.

    The block receives the node's messages. If the connection is lost, it gets the error, or what the node said
    before. `has_files`: see `session.submit`. Raises: OSError from a source.
    """
    proofs = await _proofs(sources, offered, has_files=has_files)
    frames = None if proofs else _whole_upload(link, sources)
    if frames is not None:
        with contextlib.suppress(ConnectionLostError):
            await link.send(frames)
        yield
        return
    for channel, proof in proofs.items():
        await link.send(link.conversation.prove(proof, channel))
    if Channel.FILES not in proofs:
        await _pass_on(link, sources.get(Channel.FILES))

    async def upload() -> None:
        with contextlib.suppress(ConnectionLostError):
            await _send_pieces(link, sources, watch)
        await trio.sleep_forever()

    async with alongside(upload):
        yield


async def _proofs(sources: dict[Channel, Source], offered: Offered, *, has_files: bool) -> dict[Channel, str]:
    """Return the proofs to send for what the node may have already."""
    found = {}
    module, files = sources[Channel.MODULE], sources.get(Channel.FILES)
    if module.size_bytes >= PROVE_FROM_BYTES and offered.received.module == 0:
        found[Channel.MODULE] = await _prove(module, offered.challenge)
    worth = files is not None and files.size_bytes >= PROVE_FROM_BYTES
    if has_files and worth and files is not None and not offered.received.files:
        found[Channel.FILES] = await _prove(files, offered.challenge)
    return found


async def _pass_on(link: Link, files: Source | None) -> None:
    """Pass large files to a node of this machine as a descriptor, if both sides can and no byte was sent before."""
    conversation = link.conversation
    if not isinstance(files, Pack) or files.size_bytes < PROVE_FROM_BYTES or (fd := files.sealed_fd) is None:
        return
    if not link.stream.passes_descriptors or SEALED_MEMORY not in conversation.features:
        return
    if conversation.room[Channel.FILES][0] == 0:
        await link.send(conversation.sealed_memory(Channel.FILES), fd=fd)


def _whole_upload(link: Link, sources: dict[Channel, Source]) -> bytes | None:
    """Return all frames of a small upload that the node has room for, None if it is to be sent piece by piece."""
    conversation, left = link.conversation, 0
    room = conversation.room
    for channel, (position, size) in room.items():
        source = sources[channel]
        rest = source.size_bytes - position
        left += rest
        if rest > size or left > _AT_ONCE_BYTES or not source.in_memory:
            return None
    frames = (
        conversation.upload(channel, sources[channel].read(position, size))
        for channel, (position, size) in room.items()
    )
    return b"".join(frames)


async def _read(source: Source, offset: int, maximum: int) -> bytes:
    if source.in_memory:
        return source.read(offset, maximum)
    return await trio.to_thread.run_sync(source.read, offset, maximum)


async def _prove(source: Source, challenge: str) -> str:
    data = bytes.fromhex(challenge)
    return (
        source.proof(data) if isinstance(source, Bytes) else await trio.to_thread.run_sync(source.proof, data)
    )


async def _send_pieces(link: Link, sources: dict[Channel, Source], watch: Watcher) -> None:
    """Send what there is credit for, as long as there is anything to send."""
    total = sum(source.size_bytes for source in sources.values())
    told_at = trio.current_time()
    at_once = MAX_DATA_BYTES
    while True:
        sent = False
        for channel, (position, room) in link.conversation.room.items():
            if room:
                data = await _read(sources[channel], position, min(room, at_once))
                began = trio.current_time()
                await link.send(link.conversation.upload(channel, data))
                # A heartbeat has to wait for what is being sent, and a slow node breaks off what is sent too long.
                at_once = _FAST_BYTES if trio.current_time() < began + _FAST_S else MAX_DATA_BYTES
                sent = True
        if sent and trio.current_time() >= told_at + _TELL_S:
            told_at = trio.current_time()
            left = sum(sources[item].size_bytes - at for item, (at, _) in link.conversation.room.items())
            watch(f"uploading {shown_bytes(total - left)} of {shown_bytes(total)}", None)
        if not sent:
            await link.heard.park()
