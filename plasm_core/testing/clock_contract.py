"""The contract of clocks, through the engine under test: virtual clocks, and polling, which never sleeps.

From "The machine a job sees" of docs/determinism.md.
"""

from __future__ import annotations

from plasm_core.testing.bench import Bench
from plasm_core.testing.script import (
    ABSOLUTE,
    BADF,
    CLOCK,
    FD_READ,
    FD_WRITE,
    HANGUP,
    INVAL,
    MONOTONIC,
    PROCESS_CPUTIME,
    REALTIME,
    SUCCESS,
    THREAD_CPUTIME,
    Event,
    Script,
    clock_subscription,
    events_at,
    fd_subscription,
)

EPOCH_NS = 946_684_800_000_000_000
"""2000-01-01T00:00:00Z."""
STEP_NS = 1_000
SECOND_NS = 1_000_000_000


class ClockContract:
    """Tests the clocks that a runtime gives to jobs. A mixin for a class with the fixture `bench`."""

    # -- clocks

    def test_clocks_start_at_their_documented_times_and_tick_when_read(self, bench: Bench) -> None:
        """All clocks share one virtual time: each read of any clock is 1 µs after the last read."""
        clocks = [REALTIME, MONOTONIC, PROCESS_CPUTIME, THREAD_CPUTIME, REALTIME, MONOTONIC]
        script = Script()
        for number, clock in enumerate(clocks):
            script.call("clock_time_get", clock, 2**64 - 1, 8 * number)
        script.call("clock_time_get", 4, 0, 128)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 6 + [INVAL]
        assert [done.u64(8 * number) for number in range(6)] == [
            EPOCH_NS,
            STEP_NS,
            2 * STEP_NS,
            3 * STEP_NS,
            EPOCH_NS + 4 * STEP_NS,
            5 * STEP_NS,
        ]

    def test_the_resolution_is_a_microsecond_and_asking_takes_no_time(self, bench: Bench) -> None:
        script = Script()
        for clock in range(4):
            script.call("clock_res_get", clock, 8 * clock)
        script.call("clock_res_get", 4, 64)
        script.call("clock_time_get", MONOTONIC, 0, 32)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 4 + [INVAL, SUCCESS]
        assert [done.u64(8 * number) for number in range(5)] == [STEP_NS] * 4 + [0]

    # -- polling

    def test_waiting_for_a_clock_makes_time_jump_to_its_deadline(self, bench: Bench) -> None:
        """A relative deadline counts from the call, which takes no time itself."""
        script = Script()
        script.call("clock_time_get", MONOTONIC, 0, 0)
        script.put(1024, clock_subscription(77, MONOTONIC, 5 * SECOND_NS))
        script.call("poll_oneoff", 1024, 2048, 1, 8)
        script.call("clock_time_get", REALTIME, 0, 16)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 3
        assert done.u32(8) == 1
        assert events_at(done, 2048, 1) == [Event(userdata=77, error=0, kind=CLOCK, nbytes=0, flags=0)]
        assert done.u64(16) == EPOCH_NS + STEP_NS + 5 * SECOND_NS

    def test_an_absolute_deadline_is_a_time_of_its_clock(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, clock_subscription(1, REALTIME, EPOCH_NS + 3 * SECOND_NS, flags=ABSOLUTE))
        script.put(1072, clock_subscription(2, THREAD_CPUTIME, 7 * SECOND_NS, flags=ABSOLUTE))
        script.put(1120, clock_subscription(3, REALTIME, 0, flags=ABSOLUTE))
        for number in range(3):
            script.call("poll_oneoff", 1024 + 48 * number, 2048 + 32 * number, 1, 8)
            script.call("clock_time_get", MONOTONIC, 0, 16 + 8 * number)

        done = bench.play(script)

        assert [event.userdata for event in events_at(done, 2048, 3)] == [1, 2, 3]
        assert [done.u64(16 + 8 * number) for number in range(3)] == [
            3 * SECOND_NS,
            7 * SECOND_NS,
            7 * SECOND_NS + STEP_NS,
        ]

    def test_of_several_clocks_those_due_are_reported_in_order(self, bench: Bench) -> None:
        timeouts = [9, 4, 6, 4]
        script = Script()
        for number, timeout in enumerate(timeouts):
            script.put(1024 + 48 * number, clock_subscription(number, MONOTONIC, timeout * SECOND_NS))
        script.call("poll_oneoff", 1024, 2048, 4, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script)

        assert done.u32(8) == 2
        assert [event.userdata for event in events_at(done, 2048, 2)] == [1, 3]
        assert done.u64(16) == 4 * SECOND_NS

    def test_descriptors_are_ready_at_once_and_time_stands_still(self, bench: Bench) -> None:
        """Clocks are reported beside them only if they are due; nbytes and hangup are WASI's."""
        script = Script(dump_to=1)
        script.call("fd_close", 2)
        asked = [
            clock_subscription(1, MONOTONIC, SECOND_NS),
            fd_subscription(2, FD_WRITE, 1),
            clock_subscription(3, MONOTONIC, 0),
            fd_subscription(4, FD_READ, 0),
            fd_subscription(5, FD_READ, 2),
            fd_subscription(2**64 - 1, FD_WRITE, 0xFFFF_FFFF),
        ]
        script.put(1024, b"".join(asked))
        script.call("poll_oneoff", 1024, 2048, 6, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script, stdin=b"seven..")

        assert done.u32(8) == 5
        events = events_at(done, 2048, 5)
        assert [(event.userdata, event.kind, event.error) for event in events] == [
            (2, FD_WRITE, SUCCESS),
            (3, CLOCK, SUCCESS),
            (4, FD_READ, SUCCESS),
            (5, FD_READ, BADF),
            (2**64 - 1, FD_WRITE, BADF),
        ]
        assert (events[2].nbytes, events[2].flags) == (7, 0)
        assert done.u64(16) == 0

    def test_a_bad_descriptor_alone_is_an_event_too(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, fd_subscription(1, FD_READ, 3) + clock_subscription(2, MONOTONIC, 1))
        script.call("poll_oneoff", 1024, 2048, 2, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script)

        assert done.u32(8) == 1
        assert events_at(done, 2048, 1)[0] == Event(userdata=1, error=BADF, kind=FD_READ, nbytes=0, flags=0)
        assert done.u64(16) == 0

    def test_standard_input_at_its_end_has_hung_up(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, fd_subscription(1, FD_READ, 0))
        script.call("poll_oneoff", 1024, 2048, 1, 8)

        done = bench.play(script)

        assert events_at(done, 2048, 1) == [Event(userdata=1, error=0, kind=FD_READ, nbytes=0, flags=HANGUP)]
