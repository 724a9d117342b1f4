"""Offers: places reserved for jobs whose bytes are still on their way."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import trio

from plasm_core.config import QueueLimits
from plasm_core.daemon.owners import Owner
from plasm_core.daemon.quotas import Quotas
from plasm_core.errors import PlasmError, RefusedError, StorageError, StorageFullError
from plasm_core.queue import FairQueue, Place
from plasm_core.records import Manifest
from plasm_core.shares import Holder, Room, Shares
from plasm_core.store import ModuleUpload, Pin, StagedInputs, Store
from plasm_core.wire.frames import UPLOADS, Channel
from plasm_core.wire.messages import Submit, Uploads

RETRY_S = 5
_KEPT_FOR_OWN = 8
"""Strangers never have the eighth part of the places: that is for the node's own users."""
PROOF_S = 0.01
PROOF_BYTES_PER_S = 128 << 20
"""When strangers are told whether a module need not be sent: so long after they ask, and as if it were read so fast."""

T = TypeVar("T")

Key = tuple[str, bytes]
"""A job's id and its token."""


class SupersededError(PlasmError):
    """The client goes on with its upload by another stream."""


@attrs.define(eq=False, kw_only=True)
class Offer:
    """One job on its way in. It outlives the connection it came by, for a while.

    `held_by` is the scope of the session that uploads, None while nobody does; `why` it was cancelled.
    Once `is_admitted`, its upload is complete and nobody else may take it over.
    """

    key: Key
    owner: Owner
    manifest: Manifest
    manifest_json: bytes
    sizes: Uploads
    inputs: StagedInputs
    place: Place[int]
    route: str
    challenge: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))
    upload: ModuleUpload | None = None
    pin: Pin | None = None
    held_by: trio.CancelScope | None = None
    why: PlasmError | None = None
    freed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    is_admitted: bool = False
    expires_at: float = 0.0
    begun_at: float = attrs.field(factory=trio.current_time)

    @property
    def received(self) -> Uploads:
        """How many bytes of each channel are here."""
        if self.pin is not None:
            module = self.sizes.module
        else:
            module = self.upload.received_bytes if self.upload else 0
        return Uploads(module=module, **self.inputs.received)

    @property
    def received_bytes(self) -> int:
        """How many bytes are here, of all channels."""
        return _sum(self.received)

    @property
    def is_complete(self) -> bool:
        """Whether all its bytes are here."""
        received = self.received
        return all(
            getattr(received, channel.label) == getattr(self.sizes, channel.label) for channel in UPLOADS
        )

    def cut_off(self, why: PlasmError) -> None:
        """End the session that uploads, if there is one, by an error."""
        if self.held_by is not None:
            self.why = why
            self.held_by.cancel()


class Offers:
    """The offers of a node: bounded in number, each in time. Its methods that wait do so in threads.

    An offer can be given up at any time until its job is accepted: the client sends it again. So whoever has most
    of them gives one up when another client finds no place, or no room for its bytes.
    """

    def __init__(self, store: Store, queue: FairQueue[int], quotas: Quotas, limits: QueueLimits) -> None:
        self._quotas = quotas
        self._store = store
        self._queue = queue
        self._offers: dict[Key, Offer] = {}
        self._shares = Shares(0, is_lent=True)
        self.limits = limits

    def __len__(self) -> int:
        return len(self._offers)

    @property
    def limits(self) -> QueueLimits:
        """How many there may be, and how long."""
        return self._limits

    @limits.setter
    def limits(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._shares.capacity = limits.offers
        self._shares.kept = limits.offers // _KEPT_FOR_OWN
        self._shares.per_name = limits.offers_per_client

    async def make(self, key: Key, owner: Owner, manifest: Manifest, submit: Submit) -> Offer:
        """Return an offer for a job: the one there is, with what came of it, or a new one. Hold it at once.

        Call `take_over` first. What a new one is to upload is charged to the client at once.

        Raises: `RefusedError` (`too_many_offers`, `policy`), `QueueFullError`, `StorageFullError`, `StorageError`.
        """
        sizes, found = submit.sizes, self._offers.get(key)
        if found is not None:
            if (found.sizes, found.owner, found.route) == (sizes, owner, submit.route):
                found.challenge = secrets.token_bytes(32)
                return found
            await self.discard(found)
        self._quotas.check(owner.counted)
        await self._take_place(owner.holder)
        try:
            place = self._queue.reserve(owner.line, owner.holder)
            try:
                inputs = await self._with_room(
                    owner.holder,
                    self._store.staged_bytes(manifest, _input_sizes(sizes)),
                    self._store.giver,
                    lambda: self._store.stage(manifest, _input_sizes(sizes), owner.holder),
                )
            except BaseException:
                place.release()
                raise
        except BaseException:
            self._shares.give_back(owner.holder)
            raise
        if key in self._offers:  # another stream was faster
            place.release()
            self._shares.give_back(owner.holder)
            await trio.to_thread.run_sync(inputs.discard)
            await self.take_over(key)
            return await self.make(key, owner, manifest, submit)
        offer = Offer(
            key=key,
            owner=owner,
            manifest=manifest,
            manifest_json=submit.manifest.encode(),
            sizes=sizes,
            inputs=inputs,
            place=place,
            route=submit.route,
        )
        self._offers[key] = offer
        self._quotas.charge(owner.counted, upload_bytes=_sum(sizes))
        self.extend(offer)
        return offer

    async def _take_place(self, holder: Holder) -> None:
        """Take a place, from the largest holder if there is none. Raises: `RefusedError` (`too_many_offers`)."""
        while (room := self._shares.take(holder)) is not Room.FREE:
            giver = self._shares.giver(holder, among=self._givers()) if room is Room.FULL else None
            if giver is None:
                raise RefusedError(
                    "too_many_offers", "too many jobs are being uploaded", retry_after_s=RETRY_S
                )
            await self._give_up(giver)

    async def _with_room(
        self,
        holder: Holder,
        amount_bytes: int,
        choose: Callable[[Holder, int, set[str]], str | None],
        reserve: Callable[[], T],
    ) -> T:
        """Reserve bytes, in a thread; the largest holder of uploads gives them if there are none.

        Raises: `StorageFullError`, `StorageError`.
        """
        while True:
            try:
                return await trio.to_thread.run_sync(reserve)
            except StorageFullError:
                giver = choose(holder, amount_bytes, self._givers())
                if giver is None:
                    raise
                await self._give_up(giver)

    def _givers(self) -> set[str]:
        """Return the names that have offers."""
        return {name for offer in self._offers.values() for name in offer.owner.holder.names}

    async def _give_up(self, name: str) -> None:
        """Give up one offer that is counted under a name: one that rests, or that least has come of."""
        offer = min(
            (offer for offer in self._offers.values() if name in offer.owner.holder.names),
            key=lambda offer: (offer.held_by is not None, offer.is_admitted, offer.received_bytes),
        )
        offer.cut_off(
            RefusedError(
                "too_many_offers",
                "this client has most of the uploads, and one had to give way to another client",
                retry_after_s=RETRY_S,
            )
        )
        while offer.held_by is not None:
            await offer.freed.park()
        await self.discard(offer)

    async def take_over(self, key: Key) -> bool:
        """Wait until nobody holds the offer of a job, and return whether that took a wait.

        Whoever still uploads to it is cut off: the client has come back by another stream. What is uploaded
        already is left to the one who brought it, whose job it will soon be.
        """
        waited = False
        while (found := self._offers.get(key)) is not None and found.held_by is not None:
            if not found.is_admitted:
                found.cut_off(SupersededError("the upload goes on by another stream"))
            await found.freed.park()
            waited = True
        return waited

    @contextmanager
    def hold(self, offer: Offer) -> Iterator[None]:
        """Upload to an offer that nobody holds. Raises: why it was cut off, if it was."""
        with trio.CancelScope() as scope:
            offer.held_by, offer.why = scope, None
            try:
                yield
            finally:
                offer.held_by = None
                self.extend(offer)
                offer.freed.unpark_all()
        if scope.cancelled_caught and offer.why is not None:
            raise offer.why

    def extend(self, offer: Offer) -> None:
        """Note that its upload goes on."""
        offer.expires_at = trio.current_time() + self.limits.offer_s

    async def write(self, offer: Offer, channel: Channel, data: bytes) -> None:
        """Take bytes of a channel. Raises: `RefusedError`, `StorageError`; the offer is discarded then."""
        modules = self._store.modules
        try:
            if channel is Channel.MODULE and offer.upload is None:
                size, holder = offer.sizes.module, offer.owner.holder
                offer.upload = await self._with_room(
                    holder, size, modules.giver, lambda: modules.upload(offer.manifest.module, size, holder)
                )
            await trio.to_thread.run_sync(self._write, offer, channel, data)
        except (RefusedError, StorageError):
            await self.discard(offer)
            raise
        self.extend(offer)

    def _write(self, offer: Offer, channel: Channel, data: bytes) -> None:
        if channel is not Channel.MODULE:
            offer.inputs.write(channel.label, data)
            return
        assert offer.upload is not None
        offer.upload.write(data)

    async def prove(self, offer: Offer, proof: str) -> bool:
        """Return whether a client has proved to have a module that is here, which is then pinned.

        A stranger's answer comes at a time that depends on the announced size alone, unless the node is so busy
        that the work, which does not depend on the module's being here either, takes longer.
        """
        due = trio.current_time() + PROOF_S + offer.sizes.module / PROOF_BYTES_PER_S
        known, cpu_s = await trio.to_thread.run_sync(self._timed_proof, offer, proof)
        self._quotas.charge(offer.owner.counted, cpu_s=cpu_s)
        if known:
            self._quotas.charge(offer.owner.counted, upload_bytes=-offer.sizes.module)
        if offer.owner.counted:
            await trio.sleep_until(due)
        return known

    def _timed_proof(self, offer: Offer, proof: str) -> tuple[bool, float]:
        began = time.thread_time()
        return self._prove(offer, proof), time.thread_time() - began

    def _prove(self, offer: Offer, proof: str) -> bool:
        modules, digest = self._store.modules, offer.manifest.module
        if not modules.is_proved(digest, offer.sizes.module, offer.challenge, proof):
            return False
        pin = modules.pin(digest)
        if pin is None:  # thrown out a moment ago
            return False
        self._drop_module(offer)
        offer.pin = pin
        return True

    def _drop_module(self, offer: Offer) -> None:
        """Forget what there is of the module: it comes another way."""
        pin, offer.pin = offer.pin, None
        upload, offer.upload = offer.upload, None
        if pin is not None:
            pin.release()
        if upload is not None:
            upload.discard()

    async def take(self, offer: Offer) -> Offer:
        """Put a complete offer's module in its place, and pin it. It is the caller's to accept or discard.

        Raises: `RefusedError` (`digest_mismatch`), `StorageError`; the offer is discarded then.
        """
        offer.is_admitted = True
        try:
            await trio.to_thread.run_sync(self._complete, offer)
        except Exception:
            await self.discard(offer)
            raise
        return offer

    def _complete(self, offer: Offer) -> None:
        if offer.pin is None:
            upload = offer.upload or self._store.modules.upload(
                offer.manifest.module, offer.sizes.module, offer.owner.holder
            )
            offer.upload = None
            offer.pin = upload.commit()
        offer.inputs.check(offer.manifest)

    def remove(self, offer: Offer) -> None:
        """Forget an offer that has been accepted, and give back what it kept."""
        offer.place.release()
        if self._offers.get(offer.key) is offer:
            del self._offers[offer.key]
            self._shares.give_back(offer.owner.holder)
        if offer.pin is not None:
            offer.pin.release()
            offer.pin = None

    async def discard(self, offer: Offer) -> None:
        """Give an offer up, and all that came of it."""
        self.remove(offer)
        await trio.to_thread.run_sync(_discard, offer)

    async def expire(self) -> None:
        """Give up the offers whose upload does not go on, or not fast enough, every second, for ever."""
        while True:
            await trio.sleep(1)
            now = trio.current_time()
            for offer in list(self._offers.values()):
                why = self._overdue(offer, now)
                if offer.held_by is not None:
                    if why is not None:
                        offer.cut_off(RefusedError("offer_expired", why))
                elif now > offer.expires_at or why is not None:
                    await self.discard(offer)

    def _overdue(self, offer: Offer, now: float) -> str | None:
        """Say why an upload may not go on: it takes too long, or comes too slowly, for one that holds a place."""
        limits, took_s = self.limits, now - offer.begun_at
        if took_s > limits.upload_s:
            return "the upload took too long"
        if offer.is_admitted:
            return None
        due = limits.upload_bytes_per_s * (took_s - 2 * limits.offer_s)
        if due > 0 and offer.received_bytes < due:
            return (
                f"the upload is too slow: {offer.received_bytes} bytes in {took_s:.0f} s, and this node takes no "
                f"less than {limits.upload_bytes_per_s} bytes a second"
            )
        return None

    async def close(self) -> None:
        """Give all offers up. One whose job is just being accepted is waited for."""
        while self._offers:
            offer = next(iter(self._offers.values()))
            if offer.held_by is None:
                await self.discard(offer)
            else:
                offer.cut_off(
                    RefusedError("shutting_down", "the node is about to end", retry_after_s=RETRY_S)
                )
                await offer.freed.park()


def _discard(offer: Offer) -> None:
    offer.inputs.discard()
    if offer.upload is not None:
        offer.upload.discard()


def _sum(sizes: Uploads) -> int:
    return sizes.module + sizes.args + sizes.env + sizes.stdin


def _input_sizes(sizes: Uploads) -> dict[str, int]:
    return {"args": sizes.args, "env": sizes.env, "stdin": sizes.stdin}
