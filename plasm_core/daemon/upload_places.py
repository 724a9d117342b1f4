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
        self._waiting = trio.lowlevel.ParkingLot()
        self.reconfigure(limits)

    def reconfigure(self, limits: QueueLimits) -> None:
        """Change how many places there are."""
        self._shares.capacity = limits.offers
        self._shares.kept = limits.offers // _KEPT_FOR_OWN
        self._shares.per_name = limits.offers_per_client

    async def take(
        self, holder: Holder, givers: Callable[[], set[str]], give_up: Callable[[str], Awaitable[None]]
    ) -> None:
        """Take a place. `givers` returns the names that have uploads, `give_up` ends an upload of one of them.

        Raises: `RefusedError` (`too_many_offers`).
        """
        deadline = trio.current_time() + _WAIT_S
        while (room := self._shares.take(holder)) is not Room.FREE:
            giver = self._shares.giver(holder, among=givers()) if room is Room.FULL else None
            if giver is not None:
                await give_up(giver)
                continue
            waits = room is Room.SHARE_USED and holder.is_own
            if not waits or not await self._one_is_free(deadline):
                raise RefusedError(
                    "too_many_offers", "too many jobs are being uploaded", retry_after_s=RETRY_S
                )

    async def _one_is_free(self, deadline: float) -> bool:
        """Wait for a place, and return whether one was given back before a time of trio's clock."""
        with trio.move_on_at(deadline):
            try:
                await self._waiting.park()
            except trio.Cancelled:
                self._waiting.unpark()  # the place may have been meant for this one
                raise
            return True
        return False

    def give_back(self, holder: Holder) -> None:
        """Return a place; whoever waits longest tries for it."""
        self._shares.give_back(holder)
        self._waiting.unpark()
