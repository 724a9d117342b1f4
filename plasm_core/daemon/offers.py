"""Offers: places reserved for jobs whose bytes are still on their way."""

from __future__ import annotations

import collections
import hashlib
import secrets

import attrs
import trio

from plasm_core.config import QueueLimits
from plasm_core.errors import RefusedError, StorageError
from plasm_core.queue import FairQueue, Place
from plasm_core.records import Manifest
from plasm_core.store import ModuleUpload, Pin, StagedInputs, Store
from plasm_core.wire.frames import UPLOADS, Channel
from plasm_core.wire.messages import Uploads

Key = tuple[str, bytes]
"""A job's id and its token."""


@attrs.define(eq=False, kw_only=True)
class Offer:
    """One job on its way in. It outlives the connection it came by, for a while.

    `owner` is whom the queue counts it with, `client` whose shared worker it may have.
    `held_by` is the scope of the session that uploads; None while nobody does.
    """

    key: Key
    owner: str
    client: str
    manifest: Manifest
    manifest_json: bytes
    sizes: Uploads
    inputs: StagedInputs
    place: Place[int]
    challenge: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))
    upload: ModuleUpload | None = None
    pin: Pin | None = None
    held_by: trio.CancelScope | None = None
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


class Offers:
    """The offers of a node: bounded in number, each in time. Its methods that wait do so in threads."""

    def __init__(self, store: Store, queue: FairQueue[int], limits: QueueLimits) -> None:
        self.limits = limits
        self._store = store
        self._queue = queue
        self._offers: dict[Key, Offer] = {}
        self._by_owner: collections.Counter[str] = collections.Counter()

    def __len__(self) -> int:
        return len(self._offers)

    async def make(
        self, key: Key, owner: str, client: str, manifest: Manifest, manifest_json: bytes, sizes: Uploads
    ) -> Offer:
        """Return an offer for a job: the one there is, with what came of it, or a new one.

        Whoever uploaded to it until now is cut off: its client has come back by another connection.

        Raises: `RefusedError` (`too_many_offers`), `QueueFullError`, `StorageFullError`, `StorageError`.
        """
        found = self._offers.get(key)
        if found is not None:
            if found.held_by is not None:
                found.held_by.cancel()
            if found.sizes == sizes and found.owner == owner:
                found.challenge = secrets.token_bytes(32)
                return found
            await self.discard(found)
        self._check_room(owner)
        place = self._queue.reserve(owner)
        self._by_owner[owner] += 1
        try:
            inputs = await trio.to_thread.run_sync(self._store.stage, manifest, _input_sizes(sizes))
        except BaseException:
            place.release()
            self._forget_owner(owner)
            raise
        offer = Offer(
            key=key,
            owner=owner,
            client=client,
            manifest=manifest,
            manifest_json=manifest_json,
            sizes=sizes,
            inputs=inputs,
            place=place,
        )
        raced = self._offers.get(key)
        if raced is not None:
            await self.discard(raced)
        self._offers[key] = offer
        self.extend(offer)
        return offer

    def _check_room(self, owner: str) -> None:
        if len(self._offers) >= self.limits.offers or self._by_owner[owner] >= self.limits.offers_per_client:
            raise RefusedError(
                "too_many_offers",
                "too many jobs are being uploaded",
                retry_after_s=5,
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
        return await trio.to_thread.run_sync(self._prove, offer, proof)

    def _prove(self, offer: Offer, proof: str) -> bool:
        modules = self._store.modules
        pin = modules.pin(offer.manifest.module)
        expected = modules.proof(offer.manifest.module, offer.challenge) if pin else None
        if pin is None:
            _hash_for_nothing(offer.sizes.module)
            return False
        if expected is None or not secrets.compare_digest(expected, proof):
            pin.release()
            return False
        offer.pin = pin
        return True

    async def take(self, offer: Offer) -> Offer:
        """Take a complete offer out, its module in place and pinned. It is the caller's to accept or discard.

        Raises: `RefusedError` (`digest_mismatch`), `StorageError`; the offer is discarded then.
        """
        try:
            await trio.to_thread.run_sync(self._complete, offer)
        except BaseException:
            with trio.CancelScope(shield=True):
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
                    offer.held_by.cancel()
                elif offer.held_by is None and (now > offer.expires_at or too_long):
                    await self.discard(offer)

    async def close(self) -> None:
        """Give all offers up."""
        for offer in list(self._offers.values()):
            await self.discard(offer)


def _discard(offer: Offer) -> None:
    offer.inputs.discard()
    if offer.upload is not None:
        offer.upload.discard()


def _input_sizes(sizes: Uploads) -> dict[str, int]:
    return {"args": sizes.args, "env": sizes.env, "stdin": sizes.stdin}


def _hash_for_nothing(size_bytes: int) -> None:
    """Take as long as checking a proof would: how long it took must not tell whether the module is here."""
    zeros, hasher, check = bytes(1 << 20), hashlib.sha256(), hashlib.sha256()
    for _ in range(size_bytes >> 20):
        hasher.update(zeros)
        check.update(zeros)
