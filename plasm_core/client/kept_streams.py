"""Streams between two conversations: the next one with the same node needs no dialling and no hello."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.connection import Link, open_link
from plasm_core.client.heartbeats import Heartbeats
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId

_MOST_IDLE = 32
"""A node of the network lets a client have 64 streams on a connection, and other questions need some."""
_MARGIN_S = 1.0
"""A stream is given up so long before the node closes it: what is sent then would be lost on its way."""
_CLOSE_S = 1.0


@attrs.frozen(kw_only=True, eq=False)
class KeptStream:
    """A stream on which all is said. `where`: how its node was found. `until`: a moment of trio's clock."""

    where: str
    stream: Stream
    peer: PeerId
    keep_s: int
    features: tuple[str, ...]
    until: float


class KeptStreams:
    """The idle streams of one client, bounded in number and time. It keeps none unless it is `open`."""

    def __init__(self) -> None:
        self._idle: list[KeptStream] = []
        self._is_open = False
        self._came = trio.lowlevel.ParkingLot()
        self.heartbeats = Heartbeats()
        """Those of the client's conversations."""

    def __len__(self) -> int:
        return len(self._idle)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep streams, and send heartbeats, until the context ends, which closes the streams."""
        async with alongside(self._expire, self.heartbeats.run):
            self._is_open = True
            try:
                yield
            finally:
                self._is_open = False
                idle, self._idle = self._idle, []
                for kept in idle:
                    await _close(kept)

    def put(self, where: str, link: Link, peer: PeerId) -> bool:
        """Keep a stream on which all is said. Return whether it is kept; otherwise it is the caller's to close."""
        keep_s, stream = link.conversation.keep_s or 0, link.stream
        if (
            not self._is_open
            or len(self._idle) >= _MOST_IDLE
            or keep_s <= _MARGIN_S
            or not stream.is_silent()
        ):
            return False
        until = trio.current_time() + keep_s - _MARGIN_S
        features = link.conversation.features
        self._idle.append(
            KeptStream(where=where, stream=stream, peer=peer, keep_s=keep_s, features=features, until=until)
        )
        self._came.unpark_all()
        return True

    async def take(self, where: str, peer: PeerId | None = None) -> KeptStream | None:
        """Return the stream that was used last, if the node has not closed it; None if there is none.

        `peer`: the node to reach, None for any.
        """
        while True:
            # Search the list again after each close: other tasks take and keep streams meanwhile.
            kept = next(
                (kept for kept in reversed(self._idle) if kept.where == where and peer in (None, kept.peer)),
                None,
            )
            if kept is None:
                return None
            self._idle.remove(kept)
            if trio.current_time() < kept.until and kept.stream.is_silent():
                return kept
            await _close(kept)

    @asynccontextmanager
    async def converse(self, kept: KeptStream) -> AsyncIterator[Link]:
        """Have another conversation on a stream that was taken, and keep it again."""
        async with open_link(
            kept.stream, keep_s=kept.keep_s, features=kept.features, heartbeats=self.heartbeats
        ) as link:
            link.keep = partial(self.put, kept.where, link, kept.peer)
            yield link

    async def _expire(self) -> None:
        """Close the streams that have not been used for their time."""
        while True:
            while not self._idle:
                await self._came.park()
            await trio.sleep_until(min(kept.until for kept in self._idle))
            now = trio.current_time()
            for kept in [kept for kept in self._idle if kept.until <= now]:
                if kept in self._idle:
                    self._idle.remove(kept)
                    await _close(kept)


async def _close(kept: KeptStream) -> None:
    with trio.move_on_after(_CLOSE_S) as scope:
        scope.shield = True
        await kept.stream.aclose()
