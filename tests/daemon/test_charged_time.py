"""Processor time that is spent for a client's jobs counts for that client, however the jobs end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio

from plasm_core.client import Submission
from plasm_core.config import ClientLimits, QueueLimits, StorageLimits
from plasm_core.daemon.reservations import Offers
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.service import Service
from plasm_core.daemon.store import Store
from plasm_core.daemon.store.usage import Use
from plasm_core.errors import RefusedError
from plasm_core.protocol.channels import Channel
from plasm_core.sandbox.process.processor_time import processor_time_s
from tests.daemon.test_policy import ALICE, BOB, endless, hello, serving, submit, until
from tests.daemon.test_possession import PEER, offered
from tests.support import processes

pytestmark = pytest.mark.trio

SHARE = "clients.cpu_s_per_hour=1"
USED_UP = "has used up the processor time"


async def running(service: Service) -> None:
    """Have a job of Alice run until its worker alone has used more than her share of an hour."""
    await submit(service, endless(), ALICE)
    await until(lambda: any(processor_time_s(pid) > 1.1 for pid in processes.workers(os.getpid())))


def _is_used_up(use: Use) -> bool:
    return use.resource == "cpu_s" and use.remaining is not None and use.remaining <= 0


async def test_a_job_that_its_client_cancels_is_charged(homes: Path) -> None:
    async with serving(homes, SHARE) as service:
        await running(service)
        for track in list(service.jobs.tracks.values()):
            await service.cancel(track.job)
        with pytest.raises(RefusedError, match=USED_UP):
            await submit(service, hello(), ALICE)
        await submit(service, hello(), BOB, group="elsewhere")


async def test_a_job_is_charged_while_it_runs(homes: Path) -> None:
    """A client could otherwise begin one long job after another before the first has ended."""

    def is_charged() -> bool:
        try:
            service.quotas.check(service.owners.names(f"peer {ALICE}"))
        except RefusedError:
            return True
        return False

    async with serving(homes, SHARE) as service:
        await running(service)
        await until(is_charged)

        assert len(service.jobs.schedule.slots) == 1


@pytest.mark.parametrize("how", ["stopped", "crashed"])
async def test_a_job_is_charged_that_the_end_of_the_daemon_interrupts(
    homes: Path, tmp_path: Path, how: str
) -> None:
    store = homes / "store"
    async with serving(homes, SHARE, "daemon.shutdown_s=0") as service:
        await running(service)
        if how == "stopped":
            await service.stop()
        else:
            await until(lambda: any(_is_used_up(use) for use in service.store.usage.all()))
            shutil.copytree(store, tmp_path / "copy")
    if how == "crashed":
        shutil.rmtree(store)
        (tmp_path / "copy").rename(store)

    async with serving(homes, SHARE) as service:
        with pytest.raises(RefusedError, match=USED_UP):
            await submit(service, hello(), ALICE)
        await submit(service, hello(), BOB, group="elsewhere")


async def test_comparing_files_that_are_wrong_is_charged(tmp_path: Path) -> None:
    """They are refused at the end, when the node has read all of them."""
    job = Submission.of(b"module", files={f"file {number}": b"%d" % number for number in range(9000)})
    size = job.sizes.of(Channel.FILES)
    wrong = bytearray(job.sources[Channel.FILES].read(0, size))
    wrong[-1] ^= 1
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        quotas = Quotas(ClientLimits(cpu_s_per_hour=1000), clock=lambda: 0.0)
        offers = Offers(store, queue, quotas, QueueLimits())
        offer = await offered(offers, job, PEER)
        for channel in job.sizes.channels:
            if channel is not Channel.FILES and (count := job.sizes.of(channel)):
                await offers.write(offer, channel, job.sources[channel].read(0, count))
        await offers.write(offer, Channel.FILES, bytes(wrong))
        before = _left_s(quotas)
        with pytest.raises(RefusedError, match="another digest"):
            await offers.take(offer)
        after = _left_s(quotas)
        await offers.close()

    assert after < before


@pytest.mark.parametrize("size", [100, 4096, 200_000])
async def test_reading_a_listing_during_the_upload_is_charged(tmp_path: Path, size: int) -> None:
    """A stranger could send listings only, and never an end."""
    job = Submission.of(b"module", files={f"{number:05}": b"" for number in range(size // 50)})
    pack = job.sources[Channel.FILES].read(0, job.sizes.of(Channel.FILES))
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        quotas = Quotas(ClientLimits(cpu_s_per_hour=1000), clock=lambda: 0.0)
        offers = Offers(store, queue, quotas, QueueLimits())
        offer = await offered(offers, job, PEER)
        await offers.write(offer, Channel.FILES, pack)
        left = _left_s(quotas)
        await offers.close()

    assert left < 1000


def _left_s(quotas: Quotas) -> float:
    return min((use.remaining or 0.0 for use in quotas.changes() if use.resource == "cpu_s"), default=1000.0)


async def test_long_listings_are_read_in_a_thread(tmp_path: Path) -> None:
    """Reading one takes a quarter of a second, during which the daemon would answer no client."""
    job = Submission.of(b"module", files={f"{number:05}": b"" for number in range(4000)})
    pack = job.sources[Channel.FILES].read(0, job.sizes.of(Channel.FILES))
    with Store(tmp_path / "state", StorageLimits(spare_bytes=0)) as store:
        store.recover()
        queue: FairQueue[int] = FairQueue(capacity=100, per_owner=100)
        offers = Offers(store, queue, Quotas(ClientLimits()), QueueLimits())
        offer = await offered(offers, job, PEER)
        passed = False

        async def others() -> None:
            nonlocal passed
            await trio.lowlevel.checkpoint()
            passed = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await offers.write(offer, Channel.FILES, pack)
            seen = passed
        upload = offer.parts[Channel.FILES].upload
        await offers.close()

    assert upload is not None
    assert upload.is_small
    assert seen
