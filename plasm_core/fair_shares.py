"""Shares: how holders divide a fixed amount of a node's resource, such as places, bytes or turns.

A holder is counted under each of its names. A fresh key is free, so a client of the network is also counted by the
prefix of its address (/24 or /48), and a user of this machine by the user id. Three rules hold everywhere. A part is
kept for the node's own users. A holder gets more only while the free amount is at least what it holds, so that one
gets half, the next a quarter, and later ones still find something; for one of the node's own users a fifth must stay
free, or nothing if the resource can be taken back. If a resource can be taken back at any time (an upload, a
connection), the largest holder loses first when another finds no room.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from collections.abc import Callable, Collection

import attrs


@attrs.frozen(kw_only=True)
class Holder:
    """The holder of a share.

    `names`: all names that it is counted under; empty if it is not counted. `is_own`: one of the node's own users,
    for whom a part is reserved. `is_bounded`: its share of resources that cannot be taken back is limited; the
    operator's is not.
    """

    names: tuple[str, ...] = ()
    is_own: bool = False
    is_bounded: bool = True


NOBODY = Holder(is_own=True, is_bounded=False)
"""The holder of amounts from before holders were recorded; they count for no client."""


class Room(enum.Enum):
    """Whether an amount is available, and if not, which limit prevents it."""

    FREE = "there is room"
    FULL = "others hold what there is"
    SHARE_USED = "the holder has its share"


_OWN_FACTOR = 4
"""How many times what it leaves free one of the node's own users may hold of what cannot be taken back."""


class Shares:
    """An amount that holders share. Thread-safe.

    `kept`: the part reserved for the node's own users. `per_name`: the most that one name may hold. `is_lent`:
    holdings can be taken back (see `giver`), so that own users may use everything that no other client wants.
    """

    def __init__(
        self, capacity: int, *, kept: int = 0, per_name: int | None = None, is_lent: bool = False
    ) -> None:
        self.capacity = capacity
        self.kept = kept
        self.per_name = per_name
        self._is_lent = is_lent
        self._used = 0
        self._own = 0
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The amount that all holders have together."""
        return self._used

    def held(self, holder: Holder) -> int:
        """Return the largest amount held under one of a holder's names."""
        with self._lock:
            return self._most(holder)

    def room(self, holder: Holder, amount: int = 1) -> Room:
        """Return whether a holder can have an amount more."""
        with self._lock:
            return self._room(holder, amount)

    def take(self, holder: Holder, amount: int = 1, *, force: bool = False) -> Room:
        """Take an amount for a holder, and return `Room.FREE`; otherwise take nothing.

        `force`: take it in any case.
        """
        with self._lock:
            room = Room.FREE if force else self._room(holder, amount)
            if room is Room.FREE:
                self._count(holder, amount)
            return room

    def give_back(self, holder: Holder, amount: int = 1) -> None:
        """Return an amount."""
        with self._lock:
            self._count(holder, -amount)

    def giver(self, holder: Holder, amount: int = 1, *, among: Collection[str] | None = None) -> str | None:
        """Return the name that must give up a part when a holder finds no room, or None.

        It is the name with the largest share among `among`, if that share is larger than the holder's would become.
        """
        with self._lock:
            others = (
                (held, name)
                for name, held in self._held.items()
                if name not in holder.names and (among is None or name in among)
            )
            held, name = max(others, default=(0, ""))
            return name if held > self._most(holder) + amount else None

    def _most(self, holder: Holder) -> int:
        return max((self._held[name] for name in holder.names), default=0)

    def _room(self, holder: Holder, amount: int) -> Room:
        free = self.capacity - self._used
        if not holder.is_own:
            free -= max(0, self.kept - self._own)
        if amount > free:
            return Room.FULL
        held = self._most(holder)
        if self.per_name is not None and held + amount > self.per_name:
            return Room.SHARE_USED
        if not held or not holder.is_bounded or (self._is_lent and holder.is_own):
            return Room.FREE
        factor = _OWN_FACTOR if holder.is_own else 1
        return Room.FREE if held + amount <= factor * (free - amount) else Room.SHARE_USED

    def _count(self, holder: Holder, amount: int) -> None:
        self._used += amount
        if holder.is_own:
            self._own += amount
        for name in holder.names:
            self._held[name] += amount
            if not self._held[name]:
                del self._held[name]


class Loan:
    """A place on loan, until it is given back."""

    def __init__(self, places: Places, holder: Holder, end: Callable[[], None]) -> None:
        self.holder = holder
        self._places: Places | None = places
        self._end = end

    def give_back(self) -> None:
        """Give the place back. Doing so twice is harmless."""
        places, self._places = self._places, None
        if places is not None:
            places._take_back(self)

    def call_in(self) -> None:
        """Take the place back from its holder."""
        self.give_back()
        self._end()


class Places:
    """Places on loan, each with a function that ends its use. Not thread-safe.

    When none is free, the newest place of the holder with the most places is taken back.
    """

    def __init__(self, count: int, *, kept: int = 0, per_name: int | None = None) -> None:
        self._shares = Shares(count, kept=kept, per_name=per_name, is_lent=True)
        self._loans: dict[Loan, None] = {}

    def __len__(self) -> int:
        """The places that are taken."""
        return len(self._loans)

    def take(self, holder: Holder, end: Callable[[], None]) -> Loan | None:
        """Take a place, or return None. `end` is called when the place must go to another holder; it must not wait."""
        while (room := self._shares.take(holder)) is not Room.FREE:
            giver = self._shares.giver(holder) if room is Room.FULL else None
            if giver is None:
                return None
            next(loan for loan in reversed(self._loans) if giver in loan.holder.names).call_in()
        loan = Loan(self, holder, end)
        self._loans[loan] = None
        return loan

    def _take_back(self, loan: Loan) -> None:
        del self._loans[loan]
        self._shares.give_back(loan.holder)
