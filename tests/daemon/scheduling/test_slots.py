"""Slots: what runs at once, and that no big job waits for ever."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.slots import DAEMON_BYTES, WORKER_BYTES, Slots, demand_of, lendable_bytes
from plasm_core.errors import RefusedError
from plasm_core.machine import Demand
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.records.manifest import PROFILE_V2
from plasm_core.sandbox.process import worker_files, worker_frames

TOTAL = Demand(cpu=4, memory_bytes=1000)
SMALL = Demand(cpu=1, memory_bytes=100)
BIG = Demand(cpu=4, memory_bytes=100)


@attrs.define
class Timer:
    """Seconds that pass by hand."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_jobs_run_side_by_side_as_far_as_cpu_and_memory_go() -> None:
    slots: Slots[str] = Slots(TOTAL)
    slots.take("a", Demand(cpu=1, memory_bytes=600))

    assert slots.free == Demand(cpu=3, memory_bytes=400)
    assert slots.choose([("b", Demand(cpu=3, memory_bytes=400))]) == "b"
    assert slots.choose([("b", Demand(cpu=4, memory_bytes=1))]) is None
    assert slots.choose([("b", Demand(cpu=1, memory_bytes=401))]) is None
    slots.give_back("a")
    assert slots.free == TOTAL


def test_the_first_that_fits_is_chosen() -> None:
    slots: Slots[str] = Slots(TOTAL)
    slots.take("running", SMALL)

    assert slots.choose([("x", SMALL), ("y", SMALL)]) == "x"
    assert slots.choose([("x", BIG), ("y", BIG), ("z", SMALL)]) == "z"
    assert slots.choose([]) is None


def test_a_job_that_could_never_run_is_refused() -> None:
    slots: Slots[str] = Slots(TOTAL)
    slots.check(TOTAL)

    with pytest.raises(RefusedError, match="5 cpus, and this node lends 4") as caught:
        slots.check(Demand(cpu=5, memory_bytes=1))
    assert caught.value.reason == "limit_too_high"
    with pytest.raises(RefusedError, match="1001 bytes of memory"):
        slots.check(Demand(cpu=1, memory_bytes=1001))


def test_small_jobs_pass_a_big_one_only_for_a_while() -> None:
    timer = Timer()
    slots: Slots[str] = Slots(TOTAL, patience_s=10.0, clock=timer)
    slots.take("running", SMALL)
    waiting = [("big", BIG), ("small", SMALL)]

    assert slots.choose(waiting) == "small"
    timer.now_s = 9.9
    assert slots.choose(waiting) == "small"
    timer.now_s = 10.0
    assert slots.choose(waiting) is None
    slots.give_back("running")
    assert slots.choose(waiting) == "big"


def test_patience_is_counted_for_each_that_is_next() -> None:
    timer = Timer()
    slots: Slots[str] = Slots(TOTAL, patience_s=10.0, clock=timer)
    slots.take("running", SMALL)
    assert slots.choose([("big", BIG), ("small", SMALL)]) == "small"

    timer.now_s = 15.0

    assert slots.choose([("other", BIG), ("small", SMALL)]) == "small"


def test_a_job_beyond_the_machine_runs_alone_rather_than_never() -> None:
    slots: Slots[str] = Slots(TOTAL)
    huge = Demand(cpu=8, memory_bytes=1)

    assert slots.choose([("huge", huge)]) == "huge"
    slots.take("running", SMALL)
    assert slots.choose([("huge", huge)]) is None


def test_a_job_takes_its_slot_once() -> None:
    slots: Slots[str] = Slots(TOTAL)
    slots.take("a", SMALL)

    with pytest.raises(ValueError, match="runs already"):
        slots.take("a", SMALL)


@given(
    first=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 20)), max_size=30),
    stream=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 20)), max_size=60),
)
def test_a_large_job_starts_while_small_ones_keep_arriving(
    first: list[tuple[int, int, int]], stream: list[tuple[int, int, int]]
) -> None:
    """A simulation: (owner, cpus, seconds); while the stream lasts one job of it comes each second."""
    timer = Timer()
    slots: Slots[int] = Slots(TOTAL, patience_s=5.0, clock=timer)
    queue: FairQueue[int] = FairQueue(capacity=1000, per_owner=1000, clock=timer)
    jobs = dict(enumerate([*first, *stream, (9, 4, 1)]))
    demands = {key: Demand(cpu=cpu, memory_bytes=1) for key, (_, cpu, _) in jobs.items()}
    ends: dict[int, float] = {}
    started: dict[int, float] = {}
    for key in (*range(len(first)), len(jobs) - 1):
        queue.put(jobs[key][0], key)
    coming = list(range(len(first), len(first) + len(stream)))
    while coming or len(queue) or ends:
        timer.now_s += 1
        assert timer.now_s < 10_000
        if coming:
            queue.put(jobs[coming[0]][0], coming.pop(0))
        for key in [key for key, end in ends.items() if end <= timer.now_s]:
            del ends[key]
            slots.give_back(key)
        while (chosen := slots.choose((key, demands[key]) for key in queue.heads())) is not None:
            queue.take(chosen)
            slots.take(chosen, demands[chosen])
            started[chosen] = timer.now_s
            ends[chosen] = timer.now_s + jobs[chosen][2]
        assert slots.free.cpu >= 0
    assert started.keys() == jobs.keys()
    # The whole machine, asked for by an owner with no other job: at most one round of four others before it,
    # each held up for no longer than the patience and the longest run.
    assert started[len(jobs) - 1] <= 5 * (5 + 20 + 2)


def test_a_demand_counts_the_worker_itself() -> None:
    limits = Limits(gas=1, memory_bytes=1 << 20, output_bytes=1)
    manifest = manifest_for(b"", JobInput(), limits=limits, cpu=2)

    assert demand_of(manifest) == Demand(cpu=2, memory_bytes=(1 << 20) + WORKER_BYTES)


@pytest.mark.parametrize("whole_mib", [96, 256, 512, 4096, 65536])
def test_lent_memory_leaves_the_daemon_its_own(whole_mib: int) -> None:
    whole = whole_mib << 20

    assert whole - lendable_bytes(whole) >= min(DAEMON_BYTES, whole // 2)
    assert lendable_bytes(whole) >= whole // 2
    assert lendable_bytes(4 << 30) == 3 << 30


def test_a_demand_counts_files_as_their_worker_does() -> None:
    """Else a node lends more memory than it has: the listing of a tree with long names has 134 MB at most."""
    limits = FileLimits(data_bytes=5 << 20, entries=1_000, descriptors=10)
    asked = JobFiles(tree="00" * 32, read_only=(), outputs=("out",), limits=limits)
    plain = manifest_for(b"", JobInput())
    manifest = attrs.evolve(plain, profile=PROFILE_V2, files=asked)
    body = worker_frames.pack_files(
        listing_bytes=30 << 20, **attrs.asdict(limits), read_only=[], outputs=[b"out"]
    )

    told = demand_of(manifest, listing_bytes=30 << 20).memory_bytes - demand_of(plain).memory_bytes

    assert told == worker_files.file_memory(worker_frames.WorkerFiles(body, 0))
