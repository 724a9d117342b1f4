"""The subscriptions and events of `poll_oneoff` (WASI legacy preview 1, witx)."""

from __future__ import annotations

import struct

from plasm_core.sandbox.wasi import abi

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from plasm_core.sandbox.wasi.machine import VirtualClock

_SUBSCRIPTION = struct.Struct("<QB7xI4xQ8xH6x")  # userdata, kind, clock, timeout, flags
_EVENT = struct.Struct("<QHB5xQH6x")
SUBSCRIPTION_BYTES, EVENT_BYTES = _SUBSCRIPTION.size, _EVENT.size
MAX_SUBSCRIPTIONS = 1_024


class Subscription:
    """One subscription of poll_oneoff. `clock`: the clock, or for other kinds the descriptor.

    Timeouts in nanoseconds.
    """

    def __init__(self, userdata: int, kind: int, clock: int, timeout: int, flags: int) -> None:
        self.userdata = userdata
        self.kind = kind
        self.clock = clock
        self.timeout = timeout
        self.flags = flags

    def deadline(self, clock: VirtualClock, start: int) -> int:
        """Return when a clock subscription is due, for a call at `start`.

        Both in nanoseconds since the job's start.
        """
        if self.flags & abi.CLOCK_ABSOLUTE:
            deadline = self.timeout - clock.start_of(self.clock)
        else:
            deadline = start + self.timeout
        return min(deadline, 2**63 - 1)

    def event(self, error: int, size: int = 0, flags: int = 0) -> bytes:
        """Return the encoded event for the subscription. `size`: the number of readable or writable bytes."""
        return _EVENT.pack(self.userdata, error, self.kind, size, flags)


def read_subscriptions(data: bytes) -> list[Subscription]:
    """Decode the subscriptions in guest memory, which follow one another."""
    return [Subscription(*fields) for fields in _SUBSCRIPTION.iter_unpack(data)]


def wait(asked: list[Subscription], clock: VirtualClock) -> list[Subscription]:
    """Wait until the first subscription is due, if all are for clocks. Return those that are ready, in their order."""
    start = clock.now()
    deadlines = {
        index: item.deadline(clock, start)
        for index, item in enumerate(asked)
        if item.kind == abi.EVENT_CLOCK and item.clock <= abi.CLOCK_THREAD
    }
    if len(deadlines) == len(asked):
        clock.wait_until(min(deadlines.values()))
    now = clock.now()
    return [item for index, item in enumerate(asked) if index not in deadlines or deadlines[index] <= now]
