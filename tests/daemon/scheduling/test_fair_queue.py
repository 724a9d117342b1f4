"""The queue: its order, its bounds, and that it forgets nobody."""

from __future__ import annotations

import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from plasm_core.daemon.scheduling.fair_queue import FairQueue, Place
from plasm_core.errors import QueueFullError


def queue(capacity: int = 100, per_owner: int = 100) -> FairQueue[str]:
    return FairQueue(capacity=capacity, per_owner=per_owner)


def drained(jobs: FairQueue[str]) -> list[str]:
    return [key for key in iter(jobs.take, None) if key is not None]


def test_an_empty_queue_gives_nothing() -> None:
    assert queue().take() is None


def test_owners_take_turns_and_each_ones_jobs_keep_their_order() -> None:
    jobs = queue()
    for key in ("a1", "a2", "a3", "b1", "c1", "c2"):
        jobs.put(key[0], key)

    assert drained(jobs) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_one_that_comes_late_waits_one_round_and_not_for_all() -> None:
    jobs = queue()
    for index in range(50):
        jobs.put("greedy", f"g{index}")
    jobs.put("modest", "m")

    assert [jobs.take(), jobs.take(), jobs.take()] == ["g0", "m", "g1"]


def test_reconnecting_gains_no_turn() -> None:
    jobs = queue()
    jobs.put("a", "a1")
    jobs.put("b", "b1")
    jobs.put("b", "b2")
    assert jobs.take() == "a1"

    jobs.put("a", "a2")

    assert drained(jobs) == ["b1", "a2", "b2"]


def test_a_job_to_be_run_again_comes_before_its_owners_others() -> None:
    jobs = queue()
    jobs.put("a", "a2")
    jobs.put("a", "a1", first=True)

    assert drained(jobs) == ["a1", "a2"]


def test_a_job_that_passes_another_uses_its_owners_turn_only() -> None:
    jobs = queue()
    for key in ("a1", "b1", "b2", "c1"):
        jobs.put(key[0], key)

    assert list(jobs.heads()) == ["a1", "b1", "c1"]
    assert jobs.take("b1") == "b1"
    assert list(jobs.heads()) == ["a1", "c1", "b2"]


def test_the_whole_queue_is_bounded() -> None:
    jobs = queue(capacity=2)
    jobs.reserve("a")
    jobs.reserve("b").fill("b1")

    with pytest.raises(QueueFullError, match="the queue is full: 2 jobs wait") as caught:
        jobs.reserve("c")

    assert caught.value.reason == "queue_full"
    assert caught.value.retry_after_s == 5


def test_one_owner_cannot_fill_the_queue() -> None:
    jobs = queue(per_owner=2)
    jobs.reserve("a").fill("a1")
    kept = jobs.reserve("a")

    with pytest.raises(QueueFullError, match="this client has 2 jobs waiting"):
        jobs.reserve("a")

    jobs.reserve("b")
    kept.release()
    jobs.reserve("a")


def test_a_place_is_given_back_once() -> None:
    jobs = queue(capacity=2)
    place = jobs.reserve("a")
    place.release()
    place.release()
    assert jobs.reserved == 0

    with pytest.raises(ValueError, match="released"):
        place.fill("late")

    assert len(jobs) == 0


def test_a_place_that_was_filled_is_not_released() -> None:
    jobs = queue()
    place = jobs.reserve("a")
    place.fill("a1")
    place.release()

    assert (jobs.reserved, drained(jobs)) == (0, ["a1"])


def test_what_was_accepted_before_is_never_refused() -> None:
    jobs = queue(capacity=1, per_owner=1)
    for key in ("a1", "a2", "a3"):
        jobs.put("a", key)

    assert len(jobs) == 3
    with pytest.raises(QueueFullError):
        jobs.reserve("b")


def test_a_key_waits_once() -> None:
    jobs = queue()
    jobs.put("a", "1")

    with pytest.raises(ValueError, match="waits already"):
        jobs.put("b", "1")


def test_the_time_to_ask_again_follows_the_pace() -> None:
    now = [0.0]
    jobs: FairQueue[int] = FairQueue(capacity=30, per_owner=30, clock=lambda: now[0])
    for key in range(30):
        jobs.put("a", key)
    for _ in range(29):
        now[0] += 40.0
        jobs.take()
        jobs.reserve("a")

    with pytest.raises(QueueFullError) as caught:
        jobs.reserve("b")

    assert caught.value.retry_after_s in range(30, 41)


def test_a_hundred_thousand_jobs_pass_in_time_that_does_not_grow_with_them() -> None:
    """Ten times the jobs may take some twenty times as long, not a hundred times."""

    def seconds(count: int) -> float:
        jobs: FairQueue[int] = FairQueue(capacity=count, per_owner=count)
        begun = time.process_time()
        for key in range(count):
            jobs.reserve(key % 100).fill(key)
        for key in range(0, count, 2):
            jobs.remove(key)
        while jobs.take() is not None:
            pass
        return time.process_time() - begun

    short = min(seconds(10_000) for _ in range(3))
    assert seconds(100_000) < 40 * short


class QueueAgainstModel(RuleBasedStateMachine):
    """The queue beside a model of it that is plain and slow: a list of owners, each with a list of jobs."""

    CAPACITY, PER_OWNER = 12, 5
    keys = Bundle("keys")
    places = Bundle("places")
    owners = st.sampled_from("abcd")

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue(capacity=self.CAPACITY, per_owner=self.PER_OWNER)
        self.model: list[tuple[str, list[int]]] = []
        self.places_of: dict[Place[int], str] = {}
        self.next_key = 0

    def model_put(self, owner: str, *, first: bool = False) -> int:
        self.next_key += 1
        line = next((line for name, line in self.model if name == owner), None)
        if line is None:
            self.model.append((owner, [self.next_key]))
        else:
            line.insert(0 if first else len(line), self.next_key)
        return self.next_key

    def model_take(self, index: int) -> int:
        owner, line = self.model.pop(index)
        key = line.pop(0)
        if line:
            self.model.append((owner, line))
        return key

    def model_order(self) -> list[int]:
        lines = [list(line) for _, line in self.model]
        order = []
        while lines:
            line = lines.pop(0)
            order.append(line.pop(0))
            if line:
                lines.append(line)
        return order

    @rule(target=keys, owner=owners, first=st.booleans())
    def put(self, owner: str, first: bool) -> int:
        key = self.model_put(owner, first=first)
        self.queue.put(owner, key, first=first)
        return key

    @rule(target=places, owner=owners)
    def reserve(self, owner: str) -> object:
        held = list(self.places_of.values())
        mine = held.count(owner) + sum(len(line) for name, line in self.model if name == owner)
        whole = len(held) + sum(len(line) for _, line in self.model)
        if mine >= self.PER_OWNER or whole >= self.CAPACITY:
            with pytest.raises(QueueFullError):
                self.queue.reserve(owner)
            return multiple()
        place = self.queue.reserve(owner)
        self.places_of[place] = owner
        return place

    @rule(target=keys, place=consumes(places))
    def fill(self, place: Place[int]) -> int:
        key = self.model_put(self.places_of.pop(place))
        place.fill(key)
        return key

    @rule(place=consumes(places))
    def release(self, place: Place[int]) -> None:
        del self.places_of[place]
        place.release()

    @rule()
    def take_next(self) -> None:
        assert self.queue.take() == (self.model_take(0) if self.model else None)

    @rule(data=st.data())
    def take_a_head(self, data: st.DataObject) -> None:
        if self.model:
            index = data.draw(st.integers(0, len(self.model) - 1))
            key = list(self.queue.heads())[index]
            assert self.queue.take(key) == self.model_take(index)

    @rule(key=keys)
    def remove(self, key: int) -> None:
        was_there = any(key in line for _, line in self.model)
        self.model = [
            (owner, [item for item in line if item != key]) for owner, line in self.model if line != [key]
        ]
        assert self.queue.remove(key) == was_there

    @invariant()
    def it_is_as_the_model(self) -> None:
        order = self.model_order()
        assert len(self.queue) == len(order)
        assert list(self.queue.heads()) == [line[0] for _, line in self.model]
        assert [self.queue.position(key) for key in order] == list(range(1, len(order) + 1))
        assert self.queue.reserved == len(self.places_of)
        assert all(key in self.queue for key in order)
        assert self.queue.position(0) is None

    def teardown(self) -> None:
        for place in self.places_of:
            place.release()
        assert list(iter(self.queue.take, None)) == self.model_order()
        assert (len(self.queue), self.queue.reserved, self.queue._lines) == (0, 0, {})


QueueAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueueAgainstModel = QueueAgainstModel.TestCase
