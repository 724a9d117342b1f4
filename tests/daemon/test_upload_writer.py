"""Uploads that are stored while they arrive: what happens when one has to wait for room, or is cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from plasm_core.client import Submission
from plasm_core.config import ClientLimits, QueueLimits, StorageLimits
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import Offers
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.owners import Owners
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.store import Store
from plasm_core.daemon.upload_writer import UploadWriter
from plasm_core.errors import RefusedError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import NOTHING, Submit
from plasm_core.records import PeerId
from tests.daemon.store.submission import upload

pytestmark = pytest.mark.trio
DEADLINE_S = 20.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0, module_bytes=2_000_000)) as store:
        store.recover()
        yield store


@pytest.fixture
def offers(store: Store) -> Offers:
    queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
    return Offers(store, queue, Quotas(ClientLimits()), QueueLimits())


async def offered(offers: Offers, job: Submission, number: int) -> Offer:
    """Return the reservation of one of several strangers for a job."""
    peer = PeerId(bytes(31) + bytes([number]))
    handle = job.handle(peer)
    submit = Submit(
        manifest=job.manifest_json.decode(), token=handle.token().hex(), sizes=job.sizes, credit=NOTHING
    )
    owner = Owners(b"key").of(peer, f"192.0.{number}.0/24")
    return await offers.make((handle.job_id, handle.token()), owner, job.manifest, submit)


async def test_a_session_that_waits_for_room_can_be_cut_off(offers: Offers, nursery: trio.Nursery) -> None:
    """Two that waited for the room of one another would wait for ever, and so would the end of the daemon."""
    large, small = Submission.of(b"l" * 1_000_000), Submission.of(b"s" * 900_000)
    largest, other = await offered(offers, large, 1), await offered(offers, small, 2)
    await offers.write(largest, Channel.MODULE, b"l" * 300_000)
    gives_up, session, ended = trio.Event(), trio.CancelScope(), trio.Event()

    async def give_up_late() -> None:
        with contextlib.suppress(RefusedError), offers.hold(largest), trio.CancelScope(shield=True):
            await gives_up.wait()

    async def send() -> None:
        with session, offers.hold(other):
            writer = UploadWriter(offers, other)
            async with writer.writing():
                await writer.take(Channel.MODULE, b"s" * 300_000)
                await writer.settle()
        ended.set()

    nursery.start_soon(give_up_late)
    nursery.start_soon(send)
    with trio.fail_after(DEADLINE_S):
        while largest.why is None:  # noqa: ASYNC110 - no event tells it
            await trio.sleep(0.01)
    session.cancel()
    with trio.move_on_after(DEADLINE_S):
        await ended.wait()
    is_cut_off = ended.is_set()
    gives_up.set()

    assert is_cut_off


async def test_bytes_after_a_proof_are_refused_and_leave_nothing(store: Store, offers: Offers) -> None:
    """They began an upload that no one discarded when the job was accepted: its room was lost for ever."""
    module = b"m" * 300_000
    upload(store, module)
    job = Submission.of(module)
    before = store.modules.used_bytes
    offer = await offered(offers, job, 1)
    assert await offers.prove(offer, job.sources[Channel.MODULE].proof(offer.challenge))

    with pytest.raises(RefusedError, match="longer than was announced"):
        await offers.write(offer, Channel.MODULE, module[:1000])

    assert not offers.has(offer)
    assert store.modules.used_bytes == before
