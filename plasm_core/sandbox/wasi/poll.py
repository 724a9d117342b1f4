"""What `poll_oneoff` waits for, and answers with: subscriptions and events (WASI legacy preview 1, witx)."""

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
    """One subscription. `clock` is the descriptor where `kind` is not a clock; the timeout is in nanoseconds."""

    def __init__(self, userdata: int, kind: int, clock: int, timeout: int, flags: int) -> None:
        self.userdata = userdata
        self.kind = kind
        self.clock = clock
        self.timeout = timeout
        self.flags = flags

    def deadline(self, clock: VirtualClock, start: int) -> int:
        """Return when a clock's subscription is due, if the call came at `start`. Both since the job's start."""
        if self.flags & abi.CLOCK_ABSOLUTE:
            deadline = self.timeout - clock.start_of(self.clock)
        else:
            deadline = start + self.timeout
        return min(deadline, 2**63 - 1)

    def event(self, error: int, size: int = 0, flags: int = 0) -> bytes:
        """Return the event that answers it. `size`: how many bytes can be read or written."""
        return _EVENT.pack(self.userdata, error, self.kind, size, flags)


def read_subscriptions(data: bytes) -> list[Subscription]:
    """Read them as they lie in memory, one behind the other."""
    return [Subscription(*fields) for fields in _SUBSCRIPTION.iter_unpack(data)]


def wait(asked: list[Subscription], clock: VirtualClock) -> list[Subscription]:
    """Wait, if all are for clocks, until the first is due. Return those that are ready, in their order."""
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
