"""When a client is told whether a module need not be sent: strangers at a time that tells nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core.client import Submission
from plasm_core.config import ClientLimits, QueueLimits, StorageLimits
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import PROOF_BYTES_PER_S, PROOF_S, Offers
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.owners import Owners
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.store import Store
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import NOTHING, Submit
from plasm_core.records import PeerId
from tests.daemon.store.submission import upload

PEER = PeerId(bytes(31) + b"\1")


async def offered(offers: Offers, job: Submission, peer: PeerId | None) -> Offer:
    handle = job.handle(PEER)
    submit = Submit(
        manifest=job.manifest_json.decode(), token=handle.token().hex(), sizes=job.sizes, credit=NOTHING
    )
    key = (handle.job_id, handle.token())
    owner = Owners(b"key").of(peer, "192.0.2.0/24" if peer else f"user {os.geteuid()}")
    return await offers.make(key, owner, job.manifest, submit)


async def ask(offers: Offers, offer: Offer, proof: str) -> tuple[bool, float]:
    began = trio.current_time()
    return await offers.prove(offer, proof), trio.current_time() - began


@pytest.mark.trio
@pytest.mark.parametrize("size", [70_000, 1 << 20, 3_000_001])
async def test_a_stranger_is_answered_when_the_announced_size_says_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, size: int
) -> None:
    """The clock moves only when everybody waits for it: what is measured is what is waited for."""
    here, absent = Submission.of(b"h" * size), Submission.of(b"a" * size)
    longer = Submission.of(b"l" * (size + 1))
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        for module in (b"h" * size, b"l" * (size + 1)):
            upload(store, module)
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        offers = Offers(store, queue, Quotas(ClientLimits()), QueueLimits())
        times = {}
        for name, job, right in (
            ("right", here, True),
            ("wrong", here, False),
            ("absent", absent, True),
            ("longer", longer, False),
        ):
            offer = await offered(offers, job, PEER)
            proof = job.sources[Channel.MODULE].proof(offer.challenge) if right else "00" * 32
            known, times[name] = await ask(offers, offer, proof)
            assert known is (name == "right")
            await offers.discard(offer)
        own = await offered(offers, absent, None)
        _, own_s = await ask(offers, own, "00" * 32)
        await offers.close()

    expected = PROOF_S + size / PROOF_BYTES_PER_S
    for name in ("right", "wrong", "absent"):
        assert times[name] == pytest.approx(expected), name
    assert times["longer"] == pytest.approx(PROOF_S + (size + 1) / PROOF_BYTES_PER_S)
    assert own_s == 0


@pytest.mark.trio
async def test_bytes_are_refunded_once_and_only_those_that_were_not_sent(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A client that comes back to its reservation, and proves again what it has proved, gains nothing."""
    size = 70_000
    module = b"h" * size
    job = Submission.of(module)
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        quotas = Quotas(ClientLimits(upload_bytes_per_hour=1_000_000), clock=lambda: 0.0)
        offers = Offers(store, queue, quotas, QueueLimits())
        offer = await offered(offers, job, PEER)
        await offers.write(offer, Channel.MODULE, module[:30_000])
        upload(store, module)
        left = []
        for _ in range(3):
            offer = await offered(offers, job, PEER)
            proof = job.sources[Channel.MODULE].proof(offer.challenge)
            assert (await ask(offers, offer, proof))[0]
            left += [use.remaining for use in quotas.changes() if use.resource == "upload_bytes"]
        await offers.close()

    spent = job.sizes.total - (size - 30_000)
    assert set(left) == {1_000_000 - spent}


@pytest.mark.trio
async def test_reading_the_files_of_a_job_is_charged_to_its_client(tmp_path: Path) -> None:
    """A client that proves to have files sends nothing, and has the node read their listing all the same."""
    job = Submission.of(b"h" * 70_000, files={"a": b"content"}, outputs=["a"])
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        quotas = Quotas(ClientLimits(cpu_s_per_hour=1000), clock=lambda: 0.0)
        offers = Offers(store, queue, quotas, QueueLimits())
        offer = await offered(offers, job, PEER)
        for channel in job.sizes.channels:
            if size := job.sizes.of(channel):
                await offers.write(offer, channel, job.sources[channel].read(0, size))
        before = [use.remaining or 0.0 for use in quotas.changes() if use.resource == "cpu_s"]
        await offers.discard(await offers.take(offer))
        left = [use.remaining for use in quotas.changes() if use.resource == "cpu_s"]
        await offers.close()

    assert left
    assert all(remaining is not None and remaining < min(before) < 1000 for remaining in left)
