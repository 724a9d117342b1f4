"""What a client believes, and for how long it waits: nodes that lie or keep it waiting do not end its jobs.

Trio's time jumps here to the next moment that anything waits for, so minutes take none.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from plasm_core.assurance import Standing
from plasm_core.background_tasks import alongside
from plasm_core.client import AsyncClient, JobResult, Submission
from plasm_core.client import evidence as evidence_of
from plasm_core.client.dial import DIAL_S
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.result_verification import Judge
from plasm_core.client.wait_limits import ACCEPT_S, ANSWER_S, SLACK_S, START_S
from plasm_core.config import Config
from plasm_core.errors import PlasmError, ProtocolError, ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.protocol.messages import Cancel, Status
from plasm_core.records import Handle, Limits, Outcome
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.lying_node import HONEST, OTHER, SCRIPTS, Script
from tests.support.small_network import Elapsed, SmallNetwork

WALL_S = 30
SPARE_S = 6.0
"""What finding the next node may take."""
TIMED_OUT = Outcome(kind="timed_out")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where evidence is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's threads' work done in the loop: trio's time would jump while one of them works."""

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


def job(*, wall_time_s: int = WALL_S, output_bytes: int = 1 << 16) -> Submission:
    limits = Limits(gas=10**9, memory_bytes=1 << 20, output_bytes=output_bytes)
    return Submission.of(b"module", limits=limits, wall_time_s=wall_time_s)


@asynccontextmanager
async def network(
    *scripts: Script, require: str = "signature"
) -> AsyncIterator[tuple[SmallNetwork, AsyncClient]]:
    """Open a network of nodes, and a client of it that finds the first the likeliest."""
    async with trio.open_nursery() as nursery:
        small = SmallNetwork(nursery, *scripts)
        with Judge([SignatureVerifier()], Config(), require=require) as judge:
            yield small, AsyncClient(RemoteDialler(small, small), judge)
        nursery.cancel_scope.cancel()


def evidence(state: Path) -> list[Path]:
    return sorted((state / "plasm" / "evidence").glob("*.json"))


def is_right(found: JobResult, small: SmallNetwork, number: int) -> bool:
    return (found.stdout, found.verdict.signers) == (HONEST, (small.nodes[number].signer.peer_id,))


BOUNDS = {
    "hello": DIAL_S,
    "answer": ANSWER_S,
    "accept": ACCEPT_S,
    "start": START_S,
    "run": WALL_S + SLACK_S,
}


@pytest.mark.trio
@pytest.mark.parametrize("talk", ["silence", "heartbeats", "progress", "states", "output"])
@pytest.mark.parametrize("step", BOUNDS)
async def test_no_talk_keeps_a_client_waiting(
    autojump_clock: trio.testing.MockClock, step: str, talk: str
) -> None:
    """In whichever step a node stops, another node has the job within that step's bound."""
    async with network(Script(stops=step, talk=talk), Script()) as (small, client):
        elapsed = Elapsed()
        found = await client.run(job())
        seconds = elapsed.seconds

        assert is_right(found, small, 1)
        assert seconds <= BOUNDS[step] + SPARE_S
        if talk == "heartbeats":
            assert seconds >= BOUNDS[step] - 1


@pytest.mark.trio
@pytest.mark.parametrize("step", ["answer", "accept", "run"])
async def test_the_next_job_goes_first_to_who_did_the_last(
    autojump_clock: trio.testing.MockClock, step: str
) -> None:
    async with network(Script(stops=step, talk="heartbeats"), Script()) as (small, client):
        await client.run(job())
        asked = small.nodes[0].submissions
        elapsed = Elapsed()
        found = await client.run(job())

        assert is_right(found, small, 1)
        assert elapsed.seconds < SPARE_S
        assert small.nodes[0].submissions == asked


@pytest.mark.trio
async def test_a_job_that_was_left_waiting_is_withdrawn(autojump_clock: trio.testing.MockClock) -> None:
    async with network(Script(stops="start", talk="heartbeats"), Script()) as (small, client):
        found = await client.run(job())

        assert is_right(found, small, 1)
        assert any(isinstance(question, Cancel) for question in small.nodes[0].heard)


LIES = (
    "junk",
    "altered",
    "others_key",
    "other_output",
    "other_state",
    "cancelled",
    "timed_out",
    "failed",
    "tainted_failure",
    "endless",
)
WITHOUT_A_RECEIPT = {"failed": 0, "endless": 0}
"""A node that says that it failed does not lie, and a broken protocol leaves no receipt."""


@pytest.mark.trio
@pytest.mark.parametrize("lie", LIES)
async def test_a_false_end_is_not_the_jobs(
    autojump_clock: trio.testing.MockClock, lie: str, state: Path
) -> None:
    """The next node has the job, the liar not again, and what it signed is kept."""
    async with network(SCRIPTS[lie], Script()) as (small, client):
        watched: list[str] = []

        def watch(phase: str, _status: Status | None) -> None:
            watched.append(phase)

        found = await client.run(job(), watch=watch)
        again = await client.run(job())

        assert is_right(found, small, 1)
        assert is_right(again, small, 1)
        assert small.nodes[0].submissions == 1
        kept = evidence(state)
        assert len(kept) == WITHOUT_A_RECEIPT.get(lie, 1)
        assert [item.file for item in found.rejected] == kept
        for path in kept:
            said = json.loads(path.read_text())
            assert said["node"] == str(small.nodes[0].signer.peer_id)
            assert said["jobId"] == found.handle.job_id
            assert "envelope" in said
            assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.trio
@pytest.mark.parametrize("lie", LIES)
async def test_a_strangers_word_is_not_final_while_another_node_may_be_found(
    autojump_clock: trio.testing.MockClock, lie: str
) -> None:
    """A signed "system error" cannot be checked either."""
    async with network(SCRIPTS[lie], Script(told_after_s=60)) as (small, client):

        async def becomes_quick() -> None:
            await trio.sleep(12)
            small.nodes[1].script = Script()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(becomes_quick)
            found = await client.run(job())

        assert is_right(found, small, 1)


@pytest.mark.trio
@pytest.mark.parametrize("lie", LIES)
async def test_if_all_nodes_lie_the_error_reports_it_soon(
    autojump_clock: trio.testing.MockClock, lie: str, state: Path
) -> None:
    async with network(*[SCRIPTS[lie]] * 3) as (small, client):
        elapsed = Elapsed()
        if lie == "failed":
            found = await client.run(job(wall_time_s=3600))
            assert found.receipt.result.outcome.kind == "system_error"
            assert found.stdout == b""
        else:
            placed: list[Handle] = []
            with pytest.raises(PlasmError) as caught:
                await client.run(job(wall_time_s=3600), placed=placed.append)
            assert len(placed) == 3
            assert caught.value.handle == str(placed[-1])
            if lie in ("cancelled", "timed_out"):
                assert "says that the job" in str(caught.value)
            else:
                assert isinstance(caught.value, ProtocolError if lie == "endless" else ReceiptRejectedError)
            kept = evidence(state)
            assert len(kept) == 3 * WITHOUT_A_RECEIPT.get(lie, 1)
            if kept:
                assert caught.value.hint == f"kept as evidence: {kept[-1]}"

        assert [node.submissions for node in small.nodes] == [1, 1, 1]
        assert elapsed.seconds < 60


@pytest.mark.trio
async def test_a_result_that_does_not_suffice_has_the_jobs_handle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The job is done and its result is there: what is required can still be established elsewhere."""
    async with network(Script(), require="known") as (small, client):
        with pytest.raises(ReceiptUndecidedError, match="a node that you do not know") as caught:
            await client.run(job())

        handle = Handle.parse(str(caught.value.handle))
        assert handle.peer == small.nodes[0].signer.peer_id
        assert handle.job_id in small.nodes[0].manifests


@pytest.mark.trio
@pytest.mark.parametrize("wall_time_s", [5, 20, 300])
async def test_a_job_whose_time_is_over_has_timed_out(
    autojump_clock: trio.testing.MockClock, wall_time_s: int
) -> None:
    """By the client's own clock: the node's word counts once it can be true."""
    late = Script(outcome=TIMED_OUT, output=b"", after_s=wall_time_s)
    async with network(late, Script()) as (small, client):
        found = await client.run(job(wall_time_s=wall_time_s))

        assert found.receipt.result.outcome.kind == "timed_out"
        assert found.verdict.signers == (small.nodes[0].signer.peer_id,)


@pytest.mark.trio
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
async def test_a_job_whose_time_is_not_over_has_not_timed_out(
    autojump_clock: trio.testing.MockClock, share: float
) -> None:
    early = Script(outcome=TIMED_OUT, output=b"", after_s=share * 300)
    async with network(early, Script()) as (small, client):
        found = await client.run(job(wall_time_s=300))

        assert is_right(found, small, 1)


@pytest.mark.trio
@pytest.mark.parametrize("script", [Script(), Script(signer=OTHER)], ids=["signed", "signed by that one"])
async def test_a_strangers_word_for_another_node_is_ignored(
    autojump_clock: trio.testing.MockClock, script: Script
) -> None:
    """Only the dialled node's receipt is accepted."""
    naming = attrs.evolve(script, node=str(OTHER.peer_id))
    async with network(naming, Script()) as (small, client):
        found = await client.run(job())

        assert is_right(found, small, 0 if script.signer is None else 1)
        assert found.standing is Standing.STRANGER


@pytest.mark.trio
@pytest.mark.parametrize("maximum_bytes", [1, 1 << 10, 1 << 17])
async def test_no_more_is_taken_than_the_job_may_write(
    autojump_clock: trio.testing.MockClock, maximum_bytes: int
) -> None:
    endless = Script(shown=bytes(4 << 20))
    async with network(endless, attrs.evolve(Script(), output=b"")) as (small, client):
        found = await client.run(job(output_bytes=maximum_bytes))

        assert found.verdict.signers == (small.nodes[1].signer.peer_id,)
        assert found.stdout == b""


@pytest.mark.parametrize("size_bytes", [10, evidence_of.MAX_BYTES - 1000, evidence_of.MAX_BYTES + 1])
def test_evidence_fills_no_disk(state: Path, size_bytes: int) -> None:
    """The newest are kept, bounded in number and size; of a longer envelope only its length is kept."""
    paths = [
        evidence_of.keep(OTHER.peer_id, "ab" * 32, f"reason {number}", "x" * size_bytes)
        for number in range(evidence_of.MAX_FILES + 5)
    ]
    kept = evidence(state)

    assert kept == paths[5:]
    assert all(path.stat().st_size <= evidence_of.MAX_BYTES for path in kept)
    said = json.loads(kept[-1].read_text())
    if size_bytes < evidence_of.MAX_BYTES:
        assert said["envelope"] == "x" * size_bytes
    else:
        assert (said["envelope"], said["envelopeBytes"]) == (None, size_bytes)


def test_evidence_that_cannot_be_kept_ends_no_job(state: Path) -> None:
    (state / "plasm").write_bytes(b"no directory")

    assert evidence_of.keep(OTHER.peer_id, "ab" * 32, "reason", "{}") is None


@pytest.mark.trio
@pytest.mark.parametrize("step", BOUNDS)
async def test_jobs_at_once_do_not_meet_one_liar_after_the_other(
    autojump_clock: trio.testing.MockClock, step: str
) -> None:
    """All went to the nearest stranger, and when that was silent to the next nearest, for seven times the bound."""
    ended: list[float] = []
    async with trio.open_nursery() as nursery:
        liars, honest = [Script(stops=step)] * 7, [Script(told_after_s=1.0)] * 3
        small = SmallNetwork(nursery, *liars, *honest, apart=0)
        with Judge([SignatureVerifier()], Config(), require="signature") as judge:
            dialler = RemoteDialler(small, small)
            client, elapsed = AsyncClient(dialler, judge), Elapsed()

            async def run() -> None:
                found = await client.run(job(wall_time_s=10))
                assert found.stdout == HONEST
                ended.append(elapsed.seconds)

            async with alongside(dialler.keep_enough), trio.open_nursery() as jobs:
                for _ in range(8):
                    jobs.start_soon(run)
        nursery.cancel_scope.cancel()

    assert len(ended) == 8
    bound_s = 10 + SLACK_S if step == "run" else BOUNDS[step]
    assert max(ended) < 3 * bound_s + SPARE_S


@pytest.mark.trio
async def test_nodes_without_end_that_say_nothing_end_an_attempt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network(*[Script(stops="hello")] * 40) as (_small, client):
        elapsed = Elapsed()
        with pytest.raises(PlasmError):
            async with client.dialler.converse(None, job=job()):
                pass

        assert elapsed.seconds < 17 * DIAL_S + SPARE_S
