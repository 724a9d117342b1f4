"""The resources that the connections of one host share: turns on the event loop, and memory for received bytes that
were not read yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import trio

from plasm_core.loop_fairness import LoopTurns
from plasm_core.metrics import Counters
from plasm_transport_libp2p.addresses import AddressGroups

UNREAD_BYTES = 64 << 20
"""Received and not read, over all connections of a host, beside the `FLOOR_BYTES` of each connection."""
CONNECTION_BYTES = 8 << 20
FLOOR_BYTES = 64 << 10
"""What one connection may always hold: a stream's handshake and a message."""
_GROUP_FLOOR_BYTES = 1 << 20


class UnreadMemory:
    """Counts bytes received and not read, and says how many more a connection may hold.

    The limit is a fraction of the free memory (dynamic thresholds: Choudhury and Hahne, "Dynamic queue length
    thresholds for shared-memory packet switches", 1998): a quarter for a connection, half for a group of addresses.
    So the largest holders are stopped first, room is left for others, and no byte ever has to be dropped.
    """

    def __init__(self, total_bytes: int = UNREAD_BYTES) -> None:
        self.total_bytes = total_bytes
        self.held_bytes = 0
        self.freed = trio.lowlevel.ParkingLot()
        """Unparked whenever bytes were read or dropped."""
        self._by_group: Counter[str] = Counter()

    def take(self, group: str, count: int) -> None:
        """Count bytes of a group as held, or with a negative count as freed."""
        self.held_bytes += count
        self._by_group[group] += count
        if not self._by_group[group]:
            del self._by_group[group]
        if count < 0 and self.freed:
            self.freed.unpark_all()

    def allowed(self, group: str, held_by_connection: int) -> int:
        """Return how many bytes a connection of this group may hold in all, `held_by_connection` included."""
        free = max(self.total_bytes - self.held_bytes, 0)
        left_to_group = max(free // 2, _GROUP_FLOOR_BYTES) - self._by_group[group]
        most = min(CONNECTION_BYTES, free // 4, held_by_connection + left_to_group)
        return max(most, FLOOR_BYTES)


class HostResources:
    """The resources that all connections of one host share."""

    def __init__(self) -> None:
        self.groups = AddressGroups()
        self.turns = LoopTurns()
        self.unread = UnreadMemory()
        self.counters = Counters()


class ConnectionResources:
    """The part of one connection: the group of its remote address, and the bytes it holds."""

    def __init__(self, shares: HostResources, remote: tuple[str, int] | None) -> None:
        self._shares = shares
        self.group = shares.groups.of(remote)
        self.held_bytes = 0

    async def turn(self, owner: Hashable, cost_s: float) -> None:
        """Wait for a turn on the event loop for work of about `cost_s` seconds; `owner` is the connection."""
        await self._shares.turns.turn(self.group, owner, cost_s)

    def charge(self, cost_s: float) -> None:
        """Count seconds of work on the event loop that no turn was taken for."""
        self._shares.turns.charge(cost_s)

    def take(self, count: int) -> None:
        """Count bytes as held, or with a negative count as freed."""
        self.held_bytes += count
        self._shares.unread.take(self.group, count)

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be held; negative if there are too many."""
        return self._shares.unread.allowed(self.group, self.held_bytes) - self.held_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be read from the peer."""
        return self.room_bytes > 0

    async def wait_for_room(self) -> None:
        """Wait until bytes of any connection of the host were read or dropped."""
        await self._shares.unread.freed.park()

    def note_flood(self) -> None:
        """Count this connection in `connections_flooding_total`: it was closed because of its messages."""
        self._shares.counters.add("connections_flooding_total")
