"""Stores the bytes of an upload while the next ones arrive."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from plasm_core.background_tasks import alongside
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import Offers
from plasm_core.errors import PlasmError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import Message, Possession, SealedMemory
from plasm_core.protocol.node_session import NodeConversation
from plasm_core.sandbox.process.sealed_memory import is_sealed

_WRITE_S, _WRITE_BYTES = 0.1, 1 << 18
"""An upload that comes fast is stored in pieces of at least so many bytes: each write takes a thread."""
_FULL_BYTES = 1 << 19
_LAST_S = 1.0
"""How long the end of a session waits for room for what has come last: the client can send it again."""


class UploadWriter:
    """Gathers one upload's bytes, and stores what has gathered when the write before it has ended.

    `take` waits if much has gathered.
    """

    def __init__(self, offers: Offers, offer: Offer) -> None:
        self._offers = offers
        self._offer = offer
        self._taken = {channel: offer.received.of(channel) for channel in offer.sizes.channels}
        self._taken_bytes = 0
        # The loop stores a small upload at once: a task beside it would cost more than the write.
        self._is_small = offer.sizes.total <= _WRITE_BYTES
        self._held: dict[Channel, bytearray] = {}
        self._written_at: dict[Channel, float] = {}
        self._taken_some = trio.lowlevel.ParkingLot()
        self._writing = self._is_settling = False
        self._written = trio.lowlevel.ParkingLot()

    @property
    def taken_bytes(self) -> int:
        """How many bytes came or were copied, not proved."""
        return self._taken_bytes

    @property
    def is_complete(self) -> bool:
        """Whether all announced bytes have been taken or proved."""
        sizes = self._offer.sizes
        return all(taken == sizes.of(channel) for channel, taken in self._taken.items())

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Store what is taken until the block ends, however it does. Raises: as `Offers.write`.

        A client that comes back after an interruption goes on where it was, and sends nothing again that had arrived.
        """
        try:
            async with alongside(*(() if self._is_small else (self._run,))):
                yield
        finally:
            with trio.move_on_after(_LAST_S, shield=True), contextlib.suppress(PlasmError):
                for channel in list(self._held):
                    if self._offers.has(self._offer):  # not discarded meanwhile
                        await self._write(channel)

    async def _run(self) -> None:
        while True:
            channel = next((item for item, held in self._held.items() if held and self._is_due(item)), None)
            if channel is None:
                await self._taken_some.park()
            else:
                await self._write(channel)

    async def _write(self, channel: Channel) -> None:
        self._written_at[channel] = trio.current_time()
        await self._offers.begin(self._offer, channel)
        self._writing = True
        # A write that has begun ends, so that nothing is stored twice or lost.
        with trio.CancelScope(shield=True):
            await self._offers.write(self._offer, channel, bytes(self._held.pop(channel)))
        self._writing = False
        self._written.unpark_all()

    def _is_due(self, channel: Channel) -> bool:
        return (
            self._is_settling
            or len(self._held[channel]) >= _WRITE_BYTES
            or trio.current_time() >= self._written_at.get(channel, -math.inf) + _WRITE_S
            or self._taken[channel] == self._offer.sizes.of(channel)
        )

    async def receive(self, conversation: NodeConversation, item: Message | Data, fd: int | None) -> bytes:
        """Take what a client sent, and return the frames to answer with. `fd`: a descriptor that came with it."""
        if isinstance(item, Possession):
            return conversation.possessed(await self.prove(item.proof, item.about), item.about)
        if isinstance(item, SealedMemory):
            return conversation.possessed(await self.copy(item.about, fd), item.about)
        if isinstance(item, Data):
            await self.take(item.channel, item.data)
            return conversation.credit(item.channel)
        return b""

    async def take(self, channel: Channel, data: bytes) -> None:
        """Take the next bytes of a channel."""
        while len(self._held.get(channel, b"")) >= _FULL_BYTES:
            await self._written.park()
        self._held.setdefault(channel, bytearray()).extend(data)
        self._taken[channel] += len(data)
        self._taken_bytes += len(data)
        if not self._is_small:
            self._taken_some.unpark_all()
        elif self._is_due(channel):
            await self._write(channel)

    async def prove(self, proof: str, channel: Channel) -> bool:
        """Return whether the client has proved that it has a channel's bytes. Raises: as `Offers.prove`."""
        await self.settle()
        known = await self._offers.prove(self._offer, proof, channel)
        if known:
            self._taken[channel] = self._offer.sizes.of(channel)
        return known

    async def copy(self, channel: Channel, fd: int | None) -> bool:
        """Copy all that is left of a channel from sealed memory, and close its descriptor.

        Return whether that was done: not without a descriptor, or if what it has may change or is of another size.
        Raises: as `Offers.write`.
        """
        if fd is None:
            return False
        try:
            await self.settle()
            size = self._offer.sizes.of(channel)
            if not is_sealed(fd, size):
                return False
            while self._taken[channel] < size:
                copied = await self._offers.copy(self._offer, channel, fd)
                self._taken[channel] += copied
                self._taken_bytes += copied
            return True
        finally:
            os.close(fd)

    async def settle(self) -> None:
        """Wait until every piece is stored."""
        for channel in [item for item, held in self._held.items() if held and self._is_small]:
            await self._write(channel)
        self._is_settling = True
        try:
            while self._writing or any(self._held.values()):
                self._taken_some.unpark_all()
                await self._written.park()
        finally:
            self._is_settling = False
