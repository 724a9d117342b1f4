"""Offers: places reserved for jobs whose bytes are still on their way."""

from __future__ import annotations

import collections
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from plasm_core.config import QueueLimits
from plasm_core.daemon.quotas import Quotas
from plasm_core.errors import PlasmError, RefusedError, StorageError
from plasm_core.queue import FairQueue, Place
from plasm_core.records import Manifest
from plasm_core.store import ModuleUpload, Pin, StagedInputs, Store
from plasm_core.wire.frames import UPLOADS, Channel
from plasm_core.wire.messages import Submit, Uploads

RETRY_S = 5

Key = tuple[str, bytes]
"""A job's id and its token."""


class SupersededError(PlasmError):
    """The client goes on with its upload by another stream."""


@attrs.define(eq=False, kw_only=True)
class Offer:
    """One job on its way in. It outlives the connection it came by, for a while.

    `owner` is whom the queue counts it with, `client` whose shared worker it may have.
    `counted` are the names under which quotas count it: none for this machine's own users.
    `held_by` is the scope of the session that uploads, None while nobody does; `why` it was cancelled.
    Once `is_admitted`, its upload is complete and nobody else may take it over.
    """

    key: Key
    owner: str
    client: str
    manifest: Manifest
    manifest_json: bytes
    sizes: Uploads
    inputs: StagedInputs
    place: Place[int]
    route: str
    counted: tuple[str, ...] = ()
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
    """The offers of a node: bounded in number, each in time. Its methods that wait do so in threads."""

    def __init__(self, store: Store, queue: FairQueue[int], quotas: Quotas, limits: QueueLimits) -> None:
        self.limits = limits
        self._quotas = quotas
        self._store = store
        self._queue = queue
        self._offers: dict[Key, Offer] = {}
        self._by_owner: collections.Counter[str] = collections.Counter()

    def __len__(self) -> int:
        return len(self._offers)

    async def make(
        self,
        key: Key,
        owner: str,
        client: str,
        manifest: Manifest,
        submit: Submit,
        *,
        counted: tuple[str, ...] = (),
    ) -> Offer:
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
        self._check_room(owner)
        self._quotas.check(counted)
        place = self._queue.reserve(owner)
        self._by_owner[owner] += 1
        try:
            inputs = await trio.to_thread.run_sync(self._store.stage, manifest, _input_sizes(sizes))
        except BaseException:
            place.release()
            self._forget_owner(owner)
            raise
        if key in self._offers:  # another stream was faster
            place.release()
            self._forget_owner(owner)
            await trio.to_thread.run_sync(inputs.discard)
            await self.take_over(key)
            return await self.make(key, owner, client, manifest, submit, counted=counted)
        offer = Offer(
            key=key,
            owner=owner,
            client=client,
            manifest=manifest,
            manifest_json=submit.manifest.encode(),
            sizes=sizes,
            inputs=inputs,
            place=place,
            route=submit.route,
            counted=counted,
        )
        self._offers[key] = offer
        self._quotas.charge(counted, upload_bytes=_sum(sizes))
        self.extend(offer)
        return offer

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

    def _check_room(self, owner: str) -> None:
        if len(self._offers) >= self.limits.offers or self._by_owner[owner] >= self.limits.offers_per_client:
            raise RefusedError(
                "too_many_offers",
                "too many jobs are being uploaded",
                retry_after_s=RETRY_S,
            )

    def _forget_owner(self, owner: str) -> None:
        self._by_owner[owner] -= 1
        if self._by_owner[owner] <= 0:
            del self._by_owner[owner]

    def extend(self, offer: Offer) -> None:
        """Note that its upload goes on."""
        offer.expires_at = trio.current_time() + self.limits.offer_s

    async def write(self, offer: Offer, channel: Channel, data: bytes) -> None:
        """Take bytes of a channel. Raises: `RefusedError`, `StorageError`; the offer is discarded then."""
        try:
            await trio.to_thread.run_sync(self._write, offer, channel, data)
        except (RefusedError, StorageError):
            await self.discard(offer)
            raise
        self.extend(offer)

    def _write(self, offer: Offer, channel: Channel, data: bytes) -> None:
        if channel is not Channel.MODULE:
            offer.inputs.write(channel.label, data)
            return
        if offer.upload is None:
            offer.upload = self._store.modules.upload(offer.manifest.module, offer.sizes.module)
        offer.upload.write(data)

    async def prove(self, offer: Offer, proof: str) -> bool:
        """Return whether a client has proved to have a module that is here, which is then pinned."""
        known = await trio.to_thread.run_sync(self._prove, offer, proof)
        if known:
            self._quotas.charge(offer.counted, upload_bytes=-offer.sizes.module)
        return known

    def _prove(self, offer: Offer, proof: str) -> bool:
        modules = self._store.modules
        if modules.size_bytes(offer.manifest.module) != offer.sizes.module:
            # Nor may another size than the right one: the time would tell that the module is here.
            _hash_for_nothing(offer.sizes.module)
            return False
        pin = modules.pin(offer.manifest.module)
        expected = modules.proof(offer.manifest.module, offer.challenge) if pin else None
        if pin is None or expected is None or not secrets.compare_digest(expected, proof):
            if pin is not None:
                pin.release()
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
            upload = offer.upload or self._store.modules.upload(offer.manifest.module, offer.sizes.module)
            offer.upload = None
            offer.pin = upload.commit()
        offer.inputs.check(offer.manifest)

    def remove(self, offer: Offer) -> None:
        """Forget an offer that has been accepted, and give back what it kept."""
        offer.place.release()
        if self._offers.get(offer.key) is offer:
            del self._offers[offer.key]
            self._forget_owner(offer.owner)
        if offer.pin is not None:
            offer.pin.release()
            offer.pin = None

    async def discard(self, offer: Offer) -> None:
        """Give an offer up, and all that came of it."""
        self.remove(offer)
        await trio.to_thread.run_sync(_discard, offer)

    async def expire(self) -> None:
        """Give up the offers whose upload does not go on, every second, for ever."""
        while True:
            await trio.sleep(1)
            now = trio.current_time()
            for offer in list(self._offers.values()):
                too_long = now - offer.begun_at > self.limits.upload_s
                if too_long and offer.held_by is not None:
                    offer.cut_off(RefusedError("offer_expired", "the upload took too long"))
                elif offer.held_by is None and (now > offer.expires_at or too_long):
                    await self.discard(offer)

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


def _hash_for_nothing(size_bytes: int) -> None:
    """Take as long as checking a proof would: how long it took must not tell whether the module is here."""
    zeros, hasher, check = bytes(1 << 20), hashlib.sha256(), hashlib.sha256()
    for offset in range(0, size_bytes, len(zeros)):
        hasher.update(zeros[: size_bytes - offset])
        check.update(zeros[: size_bytes - offset])
