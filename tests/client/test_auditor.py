"""Accepted results are checked later by other nodes, which cannot tell an audit from a job."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from plasm_core.client import AsyncClient, Submission, kept_inputs
from plasm_core.client.auditor import Auditor, check_here
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.reputation import Reputation
from plasm_core.client.reputation_store import ReputationStore
from plasm_core.client.result_verification import Judge
from plasm_core.config import AdmissionLimits, Config
from plasm_core.errors import RefusedError
from plasm_core.protocol.messages import Submit
from plasm_core.randomness import RANDOM
from plasm_core.records import PeerId
from plasm_core.testing.claims import STDOUT
from plasm_signer_ed25519.verifier import SignatureVerifier
from plasm_verifier_audit import AuditVerifier
from tests.support.lying_node import Script
from tests.support.small_network import Elapsed, SmallNetwork

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.wasm"
HONEST = Script(output=STDOUT)
LIAR = Script(output=b"an output that nobody has computed\n")
ELSEWHERE = AuditVerifier(rate=1.0, gas_here=0, delay_s=1000)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where proofs and inputs are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's threads' work done in the loop: trio's time would jump while one of them works."""

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


class Clock:
    """Seconds since 1970 that only a test sets forward, an hour behind: nothing may read another clock beside it."""

    def __init__(self) -> None:
        self.now = datetime.now(timezone.utc).timestamp() - 3600

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ReputationStore]:
    with ReputationStore(tmp_path / "reputation" / "reputation.db", clock=clock) as opened:
        yield opened


@asynccontextmanager
async def audited(
    store: ReputationStore,
    *scripts: Script,
    groups: Sequence[str] = (),
    config: Config = Config(),  # noqa: B008 - it is frozen
) -> AsyncIterator[tuple[SmallNetwork, AsyncClient, Auditor]]:
    """Open a network, a client of it, and an auditor that has other clients of it."""
    groups = groups or [f"network {number}" for number in range(len(scripts))]
    async with trio.open_nursery() as nursery:
        small = SmallNetwork(nursery, *scripts, apart=1, groups=groups)
        reputation = Reputation(store)
        signature = SignatureVerifier()

        @asynccontextmanager
        async def another() -> AsyncIterator[AsyncClient]:
            with Judge([signature], Config()) as plain:
                yield AsyncClient(RemoteDialler(small, small, reputation=reputation, at_random=True), plain)

        with Judge([signature, ELSEWHERE], config, reputation=reputation) as judge:
            client = AsyncClient(RemoteDialler(small, small, reputation=reputation), judge)
            yield small, client, Auditor(reputation, another, judge)
        nursery.cancel_scope.cancel()


def job() -> Submission:
    return Submission.of(HELLO.read_bytes(), wall_time_s=30)


def peer(small: SmallNetwork, number: int) -> PeerId:
    return small.nodes[number].signer.peer_id


@pytest.mark.trio
async def test_an_audit_is_a_job_like_any_other_at_a_random_time_in_another_network(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    groups = ["one", "one", "two"]
    async with audited(store, HONEST, HONEST, HONEST, groups=groups) as (small, client, auditor):
        given = job()
        await client.run(given)
        wait_s = store.next_due()
        assert wait_s is not None
        assert 0 <= wait_s <= 1000
        early = await auditor.audit_due()
        assert early == [] or wait_s == 0
        clock.now += 1001
        (found,) = [*early, *await auditor.audit_due()]

        assert found.is_right
        assert [node.submissions for node in small.nodes] == [1, 0, 1]
        (first, *_), (second, *_) = small.nodes[0].heard, small.nodes[2].heard
        assert isinstance(first, Submit)
        assert isinstance(second, Submit)
        assert (first.sizes, first.route, first.follow) == (second.sizes, second.route, second.follow)
        assert first.token != second.token
        one, other = (item.manifests.popitem() for item in (small.nodes[0], small.nodes[2]))
        assert one[0] != other[0]
        assert len(one[1]) == len(other[1])
        assert [store.find(peer(small, number)).checked for number in (0, 2)] == [1, 1]
        assert store.next_due() is None


@pytest.mark.trio
async def test_a_liar_that_was_believed_is_convicted_by_an_audit_and_its_results_are_doubtful(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    async with audited(store, LIAR, HONEST, HONEST) as (small, client, auditor):
        believed = [await client.run(job()) for _ in range(2)]
        assert [item.stdout for item in believed] == [LIAR.output] * 2
        (due, _) = sorted(store._results("SELECT * FROM results"), key=lambda item: item.job_id)
        found = await auditor.audit(due)

        liar = store.find(peer(small, 0))
        assert (found.is_right, liar.is_convicted) == (False, True)
        assert liar.proof is not None
        assert liar.proof.exists()
        assert not store.find(peer(small, 1)).is_convicted
        assert {item.state for item in store.doubtful()} == {"unchecked", "wrong"}
        assert (await client.run(job())).stdout == STDOUT


@pytest.mark.trio
async def test_an_accomplice_that_recognises_an_audit_is_convicted_with_the_liar(
    autojump_clock: trio.testing.MockClock,
    store: ReputationStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is drawn, and confirms the lie. Where the client has an engine, the next check by anybody else convicts both."""
    monkeypatch.setattr(RANDOM, "choice", lambda items: items[0])
    async with audited(store, LIAR, LIAR, HONEST, HONEST) as (small, client, auditor):
        believed = await client.run(job())
        clock.now += 1001
        (fooled,) = await auditor.audit_due()
        assert (believed.stdout, fooled.is_right) == (LIAR.output, True)
        small.nodes[0].script = HONEST  # it answers honestly from now on: what it has signed remains
        with Judge([SignatureVerifier()], Config()) as judge:
            reputation = Reputation(store)
            (result,) = store._results("SELECT * FROM results")
            found = check_here(result, reputation, judge)

    assert found.is_right is False
    assert store.find(peer(small, 0)).is_convicted


@pytest.mark.trio
async def test_without_an_engine_nodes_are_asked_until_one_answer_is_likely_enough(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    """Three against one: no fraud proof says who lied, and the liar gets no more jobs while there are others."""
    engineless = Config(admission=AdmissionLimits(module_bytes=8))
    async with audited(store, LIAR, *[HONEST] * 4, config=engineless) as (small, client, auditor):
        believed = await client.run(job())
        clock.now += 1001
        (found,) = await auditor.audit_due()
        histories = [store.find(peer(small, number)) for number in range(5)]
        before = small.nodes[0].submissions
        again = await client.run(job())

        assert (believed.stdout, again.stdout) == (LIAR.output, STDOUT)
        assert (found.is_right, found.reason) == (False, "3 nodes agree on something else")
        assert (histories[0].checked, histories[0].failed, histories[0].is_convicted) == (0, 1, False)
        assert sorted((item.checked, item.failed) for item in histories[1:]) == [(0, 0), *[(1, 0)] * 3]
        assert before == small.nodes[0].submissions == 1


@pytest.mark.trio
async def test_an_audit_goes_to_a_network_that_is_drawn_and_not_to_the_nearest_node(
    autojump_clock: trio.testing.MockClock,
    store: ReputationStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nearest nodes may be a liar and its accomplice, which would confirm each other in every audit."""
    drawn: list[int] = []

    def choice(items: Sequence[object]) -> object:
        drawn.append(len(items))
        return items[-1]

    monkeypatch.setattr(RANDOM, "choice", choice)
    groups = ["one", "two", "three", "three", "three"]
    async with audited(store, LIAR, LIAR, *[HONEST] * 3, groups=groups) as (small, client, auditor):
        await client.run(job())
        clock.now += 1001
        (found,) = await auditor.audit_due()

        assert found.is_right is False
        assert store.find(peer(small, 0)).is_convicted
        assert [node.submissions for node in small.nodes] == [1, 0, 0, 0, 1]
        assert drawn == [2, 3], "a network of two, and a node of the three there"


@pytest.mark.trio
async def test_a_node_that_lies_in_an_audit_is_convicted_and_the_honest_result_confirmed(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    async with audited(store, HONEST, LIAR) as (small, client, auditor):
        await client.run(job())
        clock.now += 1001
        (found,) = await auditor.audit_due()

        assert found.is_right
        assert store.find(peer(small, 1)).is_convicted
        assert not store.find(peer(small, 0)).is_convicted


@pytest.mark.trio
async def test_an_audit_without_another_node_comes_to_no_end_and_is_due_again(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    async with audited(store, HONEST) as (_, client, auditor):
        await client.run(job())
        clock.now += 1001
        (found,) = await auditor.audit_due()
        later = store.next_due()

    assert found.is_right is None
    assert later is not None
    assert 6 * 3600 - 1 < later <= 6 * 3600


@pytest.mark.trio
async def test_the_background_task_audits_when_it_is_time(
    autojump_clock: trio.testing.MockClock,
    store: ReputationStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from plasm_core.background_tasks import alongside

    monkeypatch.setattr(RANDOM, "uniform", lambda _least, most: most)  # it may be time at once
    async with audited(store, HONEST, HONEST) as (small, client, auditor):
        async with alongside(auditor.run):
            await client.run(job())
            await trio.sleep(60)
            before = small.nodes[1].submissions
            clock.now += 1001
            await trio.sleep(60)

        assert (before, small.nodes[1].submissions) == (0, 1)


def test_kept_inputs_make_the_same_task_with_a_nonce_of_its_own(tmp_path: Path) -> None:
    given = Submission.of(HELLO.read_bytes(), args=["a"], env={"B": "c"}, stdin=b"input")
    assert kept_inputs.keep(given, directory=tmp_path / "kept")
    again = kept_inputs.load(given.manifest_json, directory=tmp_path / "kept")

    assert again.manifest.task_digest == given.manifest.task_digest
    assert again.manifest_json != given.manifest_json
    assert again.load() == given.load()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "kept").iterdir()}
    assert modes == {0o600}


def test_kept_inputs_are_bounded_and_the_longest_unused_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_inputs, "MAX_BYTES", 3000)
    monkeypatch.setattr(kept_inputs, "MAX_JOB_BYTES", 2000)
    jobs = [Submission.of(b"module", stdin=bytes([number]) * 900) for number in range(6)]
    place = tmp_path / "kept"
    for number, item in enumerate(jobs):
        kept_inputs.keep(item, directory=place)
        # The clock of files may stand still meanwhile.
        os.utime(place / item.manifest.stdin, (number, number))

    assert not kept_inputs.keep(Submission.of(b"module", stdin=bytes(2001)), directory=place)
    assert sum(path.stat().st_size for path in place.iterdir()) <= 3000
    assert kept_inputs.load(jobs[-1].manifest_json, directory=place).load()[1].stdin == bytes([5]) * 900
    with pytest.raises(RefusedError, match="the job's stdin is not kept here any more"):
        kept_inputs.load(jobs[0].manifest_json, directory=place)


def test_a_kept_input_that_was_changed_is_refused(tmp_path: Path) -> None:
    given = Submission.of(b"module", stdin=b"input")
    kept_inputs.keep(given, directory=tmp_path / "kept")
    (tmp_path / "kept" / given.manifest.stdin).write_bytes(b"other")
    with pytest.raises(RefusedError, match="the job's stdin was changed"):
        kept_inputs.load(given.manifest_json, directory=tmp_path / "kept")


@pytest.mark.trio
async def test_due_results_are_checked_concurrently(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, clock: Clock
) -> None:
    """Otherwise each node that takes long would delay all later checks, for an hour each."""
    slow = attrs.evolve(HONEST, after_s=25.0)
    async with audited(store, HONEST, slow) as (small, client, auditor):
        for _ in range(4):
            await client.run(job(), avoid={peer(small, 1)})
        clock.now += 1001
        elapsed = Elapsed()
        found = await auditor.audit_due()
        seconds = elapsed.seconds

    assert [item.is_right for item in found] == [True] * 4
    assert seconds < 2 * 25
