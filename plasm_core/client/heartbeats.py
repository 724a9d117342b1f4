"""The heartbeats of all conversations of one client: one task sends them, whatever their number."""

from __future__ import annotations

from typing import Protocol

import trio

HEARTBEAT_S = 10.0


class Beating(Protocol):
    """A conversation that owes a heartbeat when nothing else was sent for `HEARTBEAT_S`."""

    sent_at: float
    """A moment of trio's clock."""

    async def send_heartbeat(self) -> None:
        """Send a heartbeat. Raises nothing if the connection is lost."""


class Heartbeats:
    """Sends heartbeats for the conversations that were added, while `run` runs."""

    def __init__(self) -> None:
        self.is_running = False
        self._open: set[Beating] = set()
        self._sending: set[Beating] = set()
        self._came = trio.lowlevel.ParkingLot()

    def add(self, conversation: Beating) -> None:
        """Send heartbeats for a conversation from now on."""
        if not self._open:
            self._came.unpark_all()
        self._open.add(conversation)

    def remove(self, conversation: Beating) -> None:
        """Send no more of them."""
        self._open.discard(conversation)

    async def run(self) -> None:
        """Send each heartbeat in a task of its own: a node that takes nothing holds up its own only."""
        self.is_running = True
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    while not self._open:
                        await self._came.park()
                    now = trio.current_time()
                    for conversation in self._open - self._sending:
                        if conversation.sent_at + HEARTBEAT_S <= now:
                            self._sending.add(conversation)
                            nursery.start_soon(self._send, conversation)
                    # One that is added meanwhile is due later than this.
                    waiting = self._open - self._sending
                    until = min((item.sent_at for item in waiting), default=now) + HEARTBEAT_S
                    await trio.sleep_until(until)
        finally:
            self.is_running = False

    async def _send(self, conversation: Beating) -> None:
        try:
            if conversation in self._open:
                await conversation.send_heartbeat()
        finally:
            self._sending.discard(conversation)
