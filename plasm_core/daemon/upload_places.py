"""The places of a node for jobs that are uploaded, shared among its clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from plasm_core.config import QueueLimits
from plasm_core.errors import RefusedError
from plasm_core.fair_shares import Holder, Room, Shares

RETRY_S = 5
"""When a client that found no place may ask again, in seconds."""
_WAIT_S = 2.0
_KEPT_FOR_OWN = 8
"""Strangers never have the eighth part of the places: that is for the node's own users."""


class UploadPlaces:
    """Places that the largest holder gives up where another client finds none.

    A user of this machine who holds all that one client may have waits a moment for one of them: most uploads take
    milliseconds, and a program may begin some hundred at once. A stranger is refused at once, since what waits takes
    memory.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._shares = Shares(0, is_lent=True)
        self._waiting: dict[Holder, dict[trio.Event, None]] = {}
        self._claims = 0
        """How many clients are about to take a place that another gives up."""
        self.reconfigure(limits)

    def reconfigure(self, limits: QueueLimits) -> None:
        """Change how many places there are."""
        self._shares.capacity = limits.offers
        self._shares.kept = limits.offers // _KEPT_FOR_OWN
        self._shares.per_name = limits.offers_per_client
        self._hand_on()

    async def take(
        self, holder: Holder, givers: Callable[[], set[str]], give_up: Callable[[str], Awaitable[None]]
    ) -> None:
        """Take a place. `givers` returns the names that have uploads, `give_up` ends an upload of one of them.

        Raises: `RefusedError` (`too_many_offers`).
        """
        room = self._shares.take(holder)
        if room is Room.FULL:
            room = await self._take_away(holder, givers, give_up)
        if room is Room.SHARE_USED and holder.is_own and await self._is_handed_one(holder):
            return
        if room is not Room.FREE:
            raise RefusedError("too_many_offers", "too many jobs are being uploaded", retry_after_s=RETRY_S)

    async def _take_away(
        self, holder: Holder, givers: Callable[[], set[str]], give_up: Callable[[str], Awaitable[None]]
    ) -> Room:
        """Take a place that the largest holder gives up: no client that waits gets it in between."""
        self._claims += 1
        try:
            while (room := self._shares.take(holder)) is Room.FULL:
                giver = self._shares.giver(holder, among=givers())
                if giver is None:
                    break
                await give_up(giver)
            return room
        finally:
            self._claims -= 1
            self._hand_on()

    async def _is_handed_one(self, holder: Holder) -> bool:
        """Wait for a place, and return whether the holder got one."""
        given = trio.Event()
        waiting = self._waiting.setdefault(holder, {})
        waiting[given] = None
        try:
            with trio.move_on_after(_WAIT_S):
                await given.wait()
        except BaseException:
            if given.is_set():  # between the cancellation and this line
                self.give_back(holder)
            raise
        finally:
            waiting.pop(given, None)
            if not waiting and self._waiting.get(holder) is waiting:
                del self._waiting[holder]
        return given.is_set()

    def give_back(self, holder: Holder) -> None:
        """Return a place."""
        self._shares.give_back(holder)
        self._hand_on()

    def _hand_on(self) -> None:
        """Take free places for the clients that wait, for those first that have waited longest of each user."""
        if self._claims:
            return
        for holder, waiting in self._waiting.items():
            while waiting and self._shares.take(holder) is Room.FREE:
                given = next(iter(waiting))
                del waiting[given]
                given.set()
