"""Which node a job of many goes to, when it goes elsewhere, and when all of it ends. Time is trio's own, and jumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, cast

import pytest
import trio
import trio.testing

from plasm_core.client.dial import LocalDialler
from plasm_core.client.dispatcher import Dispatcher, Finished, Lane, QueuedJob
from plasm_core.client.result import JobResult
from plasm_core.client.session import PROVE_FROM_BYTES
from plasm_core.client.submission import Submission
from plasm_core.client.window import Window
from plasm_core.errors import (
    ConnectionLostError,
    FilesNotServedError,
    PeerUnreachableError,
    PlasmError,
    RefusedError,
)
from plasm_core.protocol.channels import Channel
from plasm_core.records import Handle, PeerId

Work = Callable[[int], Awaitable[None]]


class Node:
    """A node's answers: `work` is awaited with the number of the job, and raises what the node would cause."""

    def __init__(self, number: int, work: Work) -> None:
        self.peer = PeerId(public_key=bytes([number + 1]) * 32)
        self.work = work
        self.ran: list[int] = []
        self.cancelled = 0
        self.running = self.most = 0
        self.dialler = LocalDialler(cast(Any, None))

    def at(self, dialler: object) -> Any:
        raise NotImplementedError

    def executions(self, _submission: Submission) -> int:
        return 1

    async def run(
        self, submission: Submission, *, placed: Callable[[Handle], None], **_: object
    ) -> JobResult:
        number = int(submission.load()[1].args[0])
        placed(submission.handle(self.peer))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.work(number)
        finally:
            self.running -= 1
        self.ran.append(number)
        return cast(JobResult, self)

    async def cancel(self, _handle: Handle, *, timeout_s: float | None) -> Any:
        self.cancelled += 1


class Batch:
    """A dispatcher over nodes, with what it delivered."""

    def __init__(self, jobs: int, nodes: list[Node], *, most_each: int = 8) -> None:
        self.jobs = jobs
        self.made = 0
        self.delivered: list[Finished] = []
        first, *others = nodes
        self.dispatcher = Dispatcher(cast(Any, first), self._pull, self._deliver)
        self.dispatcher.lanes += [
            Lane(peer=node.peer, client=cast(Any, node), window=Window(most=most_each)) for node in others
        ]

    async def _pull(self) -> QueuedJob | None:
        if self.made == self.jobs:
            return None
        self.made += 1
        return QueuedJob(self.made - 1, Submission.of(b"\0asm", args=[str(self.made - 1)]))

    async def _deliver(self, finished: Finished) -> None:
        if finished.output is not None:
            finished.output.close()
        self.delivered.append(finished)

    def run(self) -> Batch:
        trio.run(self.dispatcher.run, clock=trio.testing.MockClock(autojump_threshold=0))
        return self

    @property
    def ends(self) -> Counter[tuple[int, bool]]:
        """Count the ends by job and whether it has a result."""
        return Counter((item.index, item.result is not None) for item in self.delivered)

    @property
    def all_once(self) -> bool:
        return self.ends == Counter((number, True) for number in range(self.jobs))


def lasting(seconds: float) -> Work:
    async def work(_job: int) -> None:
        await trio.sleep(seconds)

    return work


def test_files_that_jobs_share_are_brought_to_a_node_by_one_of_them() -> None:
    """The others begin when that one is accepted, and prove to have the files; other files do not wait."""
    sending: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Slow(Node):
        async def run(
            self, submission: Submission, *, placed: Callable[[Handle], None], **_: object
        ) -> JobResult:
            tree = submission.sources[Channel.FILES].digest
            if tree not in self.trees:
                sending[tree] += 1
                most[tree] = max(most[tree], sending[tree])
                await trio.sleep(1)
                sending[tree] -= 1
                if self.failures:
                    self.failures -= 1
                    raise RefusedError("offer_expired", "the upload took too long", retry_after_s=1)
                self.trees.add(tree)
            placed(submission.handle(self.peer))
            await self.work(0)
            self.ran.append(0)
            return cast(JobResult, self)

        trees: ClassVar[set[str]] = set()
        failures = 2

    class Files(Batch):
        async def _pull(self) -> QueuedJob | None:
            made = await super()._pull()
            if made is None:
                return None
            files = {"data": bytes([made.index % 2]) * PROVE_FROM_BYTES}
            return QueuedJob(made.index, Submission.of(b"\0asm", files=files))

    batch = Files(12, [Slow(0, lasting(0.1))]).run()

    assert batch.all_once
    assert list(most.values()) == [1, 1]


def raising(error: Callable[[], PlasmError], after_s: float = 0.1) -> Work:
    async def work(_job: int) -> None:
        await trio.sleep(after_s)
        raise error()

    return work


def test_a_faster_node_gets_more() -> None:
    fast, slow = Node(0, lasting(0.1)), Node(1, lasting(1))

    batch = Batch(100, [fast, slow]).run()

    assert batch.all_once
    assert len(fast.ran) > 3 * len(slow.ran) > 0


def test_jobs_are_created_only_as_the_window_allows() -> None:
    """Memory does not grow with the number of inputs."""
    node = Node(0, lasting(1))
    ahead = []

    async def noted(_job: int) -> None:
        ahead.append(batch.made - len(batch.delivered))
        await trio.sleep(1)

    node.work = noted
    batch = Batch(200, [node])
    batch.run()

    assert batch.all_once
    assert max(ahead) <= node.most + 2


def test_a_full_node_gets_no_job_for_a_while() -> None:
    full = {"until": 0.0}

    async def filling(_job: int) -> None:
        if busy.running > 2:
            full["until"] = trio.current_time() + 5
            raise RefusedError("queue_full", "full", retry_after_s=5)
        assert trio.current_time() >= full["until"], "it was asked before its time"
        await trio.sleep(0.5)

    busy, other = Node(1, filling), Node(0, lasting(0.5))

    assert Batch(60, [other, busy]).run().all_once


def test_jobs_of_a_node_that_breaks_go_to_others() -> None:
    broken = Node(1, raising(lambda: ConnectionLostError("gone")))
    good = Node(0, lasting(0.1))

    assert Batch(50, [good, broken]).run().all_once
    assert len(good.ran) == 50


def test_a_straggler_is_sent_again_and_delivered_once() -> None:
    async def stuck(job: int) -> None:
        await trio.sleep(3600 if job > 15 else 0.1)

    good, bad = Node(0, lasting(0.1)), Node(1, stuck)

    batch = Batch(40, [good, bad])
    batch.run()

    assert batch.all_once
    assert bad.cancelled > 0
    assert bad.running == 0


def test_a_job_whose_files_a_node_does_not_serve_goes_to_another() -> None:
    honest = Node(0, lasting(0.1))
    forger = Node(1, raising(lambda: FilesNotServedError("'out' is not the tree that the receipt states")))
    batch = Batch(6, [honest, forger]).run()

    assert batch.all_once
    assert sorted(honest.ran) == list(range(6))


def test_a_refusal_by_all_nodes_at_the_start_ends_all_jobs() -> None:
    refusing = [
        Node(number, raising(lambda: RefusedError("feature", "no such module"))) for number in range(3)
    ]
    batch = Batch(50, refusing)

    with pytest.raises(RefusedError, match="no such module"):
        batch.run()

    assert batch.delivered == []


def test_a_refusal_of_one_job_by_all_nodes_fails_only_that_job() -> None:
    async def particular(job: int) -> None:
        await trio.sleep(0.1)
        if job == 7:
            raise RefusedError("input_too_large", "too large")

    batch = Batch(10, [Node(0, particular), Node(1, particular)])
    batch.run()

    assert batch.ends[7, False] == 1
    assert sum(batch.ends.values()) == 10


def test_no_daemon_at_all_ends_all_at_once() -> None:
    with pytest.raises(PeerUnreachableError):
        Batch(5, [Node(0, raising(lambda: PeerUnreachableError("nobody")))]).run()


def test_a_daemon_that_is_away_for_a_while_is_waited_for() -> None:
    async def restarting(_job: int) -> None:
        if 1 < trio.current_time() - began < 20:
            raise PeerUnreachableError("nobody")
        await trio.sleep(0.3)

    began = 0.0
    node = Node(0, restarting)
    batch = Batch(30, [node])

    async def run() -> None:
        nonlocal began
        began = trio.current_time()
        await batch.dispatcher.run()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))

    assert batch.all_once


def test_a_daemon_that_stays_away_ends_all() -> None:
    async def leaving(job: int) -> None:
        await trio.sleep(0.1)
        if job > 5:
            raise PeerUnreachableError("nobody")

    batch = Batch(30, [Node(0, leaving)])

    with pytest.raises(PeerUnreachableError):
        batch.run()
    assert len(batch.delivered) >= 5


def test_an_error_of_the_receiver_ends_all() -> None:
    batch = Batch(30, [Node(0, lasting(0.1))])

    async def failing(_finished: Finished) -> None:
        raise OSError(28, "no room")

    batch.dispatcher._deliver = failing
    with pytest.raises(OSError, match="no room"):
        batch.run()
