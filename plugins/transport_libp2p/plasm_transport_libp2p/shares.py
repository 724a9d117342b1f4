"""What the connections of one host share: turns on the event loop, and the memory for what nobody has read yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import trio

from plasm_core.counters import Counters
from plasm_core.turns import Turns
from plasm_transport_libp2p.addresses import Groups

UNREAD_BYTES = 64 << 20
"""Of one host: received and not read, over all connections, beside what `FLOOR_BYTES` allows each."""
CONNECTION_BYTES = 8 << 20
FLOOR_BYTES = 64 << 10
"""What a connection may hold however little is free: a stream's handshake and a message."""
_GROUP_FLOOR_BYTES = 1 << 20


class Unread:
    """Bytes held for peers whose streams nobody reads.

    How much one may hold depends on what is free (dynamic thresholds: Choudhury and Hahne, "Dynamic queue length
    thresholds for shared-memory packet switches", 1998): a connection a quarter of it, a group of addresses half.
    Those who hold most are stopped first, there is always room for others, and nothing needs to be taken back.
    """

    def __init__(self, total_bytes: int = UNREAD_BYTES) -> None:
        self.total_bytes = total_bytes
        self.held_bytes = 0
        self.freed = trio.lowlevel.ParkingLot()
        """Wakes whenever bytes are held no more."""
        self._by_group: Counter[str] = Counter()

    def take(self, group: str, count: int) -> None:
        """Count bytes that are held now, or with a negative count no more."""
        self.held_bytes += count
        self._by_group[group] += count
        if not self._by_group[group]:
            del self._by_group[group]
        if count < 0 and self.freed:
            self.freed.unpark_all()

    def allowed(self, group: str, held_by_connection: int) -> int:
        """Return how many bytes in all a connection may hold that holds so much now."""
        free = max(self.total_bytes - self.held_bytes, 0)
        left_to_group = max(free // 2, _GROUP_FLOOR_BYTES) - self._by_group[group]
        most = min(CONNECTION_BYTES, free // 4, held_by_connection + left_to_group)
        return max(most, FLOOR_BYTES)


class Shares:
    """Both, and the groups that they count by."""

    def __init__(self) -> None:
        self.groups = Groups()
        self.turns = Turns()
        self.unread = Unread()
        self.counters = Counters()


class Share:
    """One connection's part: the group that it belongs to, and what it holds."""

    def __init__(self, shares: Shares, remote: tuple[str, int] | None) -> None:
        self._shares = shares
        self.group = shares.groups.of(remote)
        self.held_bytes = 0

    async def turn(self, owner: Hashable, cost_s: float) -> None:
        """Wait for a turn on the event loop."""
        await self._shares.turns.turn(self.group, owner, cost_s)

    def charge(self, cost_s: float) -> None:
        """Count time on the event loop that was not asked for before."""
        self._shares.turns.charge(cost_s)

    def take(self, count: int) -> None:
        """Count bytes that are held, or with a negative count no more."""
        self.held_bytes += count
        self._shares.unread.take(self.group, count)

    @property
    def room_bytes(self) -> int:
        """How many bytes more may be held for the peer."""
        return self._shares.unread.allowed(self.group, self.held_bytes) - self.held_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be read from the peer."""
        return self.room_bytes > 0

    async def wait_for_room(self) -> None:
        """Wait until some peer's bytes were read or dropped."""
        await self._shares.unread.freed.park()

    def note_flood(self) -> None:
        """Count that the connection was ended for what it sent."""
        self._shares.counters.add("connections_flooding_total")
