"""What a node lends before it has a job: no client takes it all, and the one with the most gives up first."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from plasm_core import config as configuration
from plasm_core.config import QueueLimits
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import Offers
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.owners import Owner, Owners
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.store import Store
from plasm_core.errors import RefusedError, StorageFullError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import Outputs, Submit, Uploads
from plasm_core.records import JobInput, Limits, PeerId, job_id, manifest_for

pytestmark = pytest.mark.trio

OWNERS = Owners(b"k" * 32)
STRANGERS = [OWNERS.of(PeerId(bytes([number]) * 32), f"prefix {number}") for number in range(1, 9)]
USER, OPERATOR = OWNERS.of(None, "user 4321"), OWNERS.of(None, f"user {os.geteuid()}")


@asynccontextmanager
async def offering(state: Path, *settings: str) -> AsyncIterator[Offers]:
    config = configuration.load(settings=settings, environ={})
    with Store(state, config.storage) as store:
        queue: FairQueue[int] = FairQueue(capacity=1000, per_owner=1000)
        async with trio.open_nursery() as nursery:
            offers = Offers(store, queue, Quotas(config.clients), config.queue)
            nursery.start_soon(offers.expire)
            yield offers
            nursery.cancel_scope.cancel()
        await offers.close()


async def make(offers: Offers, owner: Owner, *, module_bytes: int = 1000, stdin_bytes: int = 0) -> Offer:
    """Ask for an offer, as a client that is about to upload."""
    limits = Limits(gas=1, memory_bytes=1 << 16, output_bytes=1)
    manifest = manifest_for(os.urandom(8), JobInput(), limits=limits)
    text = manifest.to_json()
    submit = Submit(
        manifest=text.decode(),
        token="00" * 32,
        sizes=Uploads(module=module_bytes, args=0, env=0, stdin=stdin_bytes),
        credit=Outputs(stdout=0, stderr=0),
    )
    return await offers.make((job_id(text), b"t" * 32), owner, manifest, submit)


async def fill(offers: Offers, owner: Owner, **sizes: int) -> list[Offer]:
    """Ask for offers until one is refused."""
    made: list[Offer] = []
    while len(made) < 1000:
        try:
            made.append(await make(offers, owner, **sizes))
        except (RefusedError, StorageFullError):
            return made
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_strangers_that_hold_all_offers_leave_places_for_ten_other_clients(
    tmp_path: Path, count: int
) -> None:
    async with offering(tmp_path, "queue.offers=64", "queue.offers_per_client=64") as offers:
        for owner in STRANGERS[:count]:
            await fill(offers, owner)

        for number in range(10):
            await make(offers, OWNERS.of(None, f"user {5000 + number}"))
        await make(offers, OPERATOR)
        await make(offers, OWNERS.of(PeerId(b"\xff" * 32), "another prefix"))

        assert len(offers) <= 64


async def test_fresh_keys_of_one_prefix_share_one_share(tmp_path: Path) -> None:
    async with offering(tmp_path, "queue.offers=64") as offers:
        held = len(await fill(offers, STRANGERS[0]))
        fresh = OWNERS.of(PeerId(b"\xee" * 32), "prefix 1")

        with pytest.raises(RefusedError, match="too many jobs are being uploaded"):
            await make(offers, fresh)
        assert held <= 32


async def test_an_offer_that_is_given_up_ends_its_session_with_a_reason(tmp_path: Path) -> None:
    async with offering(tmp_path, "queue.offers=10", "queue.offers_per_client=10") as offers:
        held, ended = await fill(offers, USER), []

        async def upload(offer: Offer) -> None:
            try:
                with offers.hold(offer):
                    await trio.sleep_forever()
            except RefusedError as exc:
                ended.append(exc)

        async with trio.open_nursery() as nursery:
            for offer in held:
                nursery.start_soon(upload, offer)
            await trio.testing.wait_all_tasks_blocked()
            await make(offers, OPERATOR)
            nursery.cancel_scope.cancel()

    assert [exc.reason for exc in ended] == ["too_many_offers"]
    assert ended[0].retry_after_s is not None


async def test_promised_modules_of_one_owner_leave_room_and_push_nothing_out(tmp_path: Path) -> None:
    async with offering(tmp_path, "storage.module_bytes=100000", "storage.spare_bytes=0") as offers:
        kept = offers._store.modules.upload("00" * 32, 0)
        kept.discard()
        for owner in STRANGERS[:3]:
            for offer in [await make(offers, owner, module_bytes=10_000) for _ in range(10)]:
                try:
                    await offers.write(offer, Channel.MODULE, b"x")
                except StorageFullError:
                    break

        offer = await make(offers, USER, module_bytes=10_000)
        await offers.write(offer, Channel.MODULE, bytes(10_000))

        assert offer.received.module == 10_000
        assert offers._store.modules.used_bytes <= 100_000


async def test_bytes_that_are_only_promised_give_way_to_another_holders(tmp_path: Path) -> None:
    settings = ("storage.job_bytes=100000", "storage.output_reserve_bytes=10", "storage.spare_bytes=0")
    async with offering(tmp_path, *settings) as offers:
        await make(offers, STRANGERS[0], stdin_bytes=80_000)
        before = len(offers)

        await make(offers, STRANGERS[1], stdin_bytes=20_000)

        assert (before, len(offers)) == (1, 1)


async def test_an_upload_that_is_too_slow_is_ended(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    async with offering(tmp_path) as offers:
        offer = await make(offers, USER, stdin_bytes=1 << 20)

        async def upload() -> None:
            with offers.hold(offer):
                while True:
                    await offers.write(offer, Channel.STDIN, b"x")
                    await trio.sleep(2)

        with pytest.raises(RefusedError, match="too slow") as refused:
            await upload()

        assert refused.value.reason == "offer_expired"
        assert trio.current_time() - offer.begun_at >= 2 * offers.limits.offer_s


async def test_how_slow_an_upload_may_be_is_counted_from_its_beginning(tmp_path: Path) -> None:
    async with offering(tmp_path) as offers:
        offer, limits = await make(offers, USER, stdin_bytes=1 << 20), offers.limits
        grace_s = offer.begun_at + 2 * limits.offer_s

        assert offers._overdue(offer, grace_s) is None
        assert offers._overdue(offer, grace_s + 1) is not None
        await offers.write(offer, Channel.STDIN, bytes(10 * limits.upload_bytes_per_s))
        assert offers._overdue(offer, grace_s + 10) is None
        assert offers._overdue(offer, grace_s + 11) is not None


async def test_a_limit_of_the_rate_may_be_turned_off(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    async with offering(tmp_path, "queue.upload_bytes_per_s=0") as offers:
        offer = await make(offers, USER, stdin_bytes=1 << 20)
        with offers.hold(offer):
            await trio.sleep(offers.limits.upload_s - 10)

        assert offer.key in offers._offers
        assert QueueLimits().upload_bytes_per_s > 0
