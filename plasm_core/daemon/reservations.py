"""Reservations: places for jobs whose uploads are not complete."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from plasm_core.config import QueueLimits
from plasm_core.daemon.offer import Key, Offer, Part, SupersededError
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.settled import in_thread_if
from plasm_core.daemon.store import ModuleUpload, Store
from plasm_core.daemon.store.inputs import SMALL_BYTES
from plasm_core.daemon.store.modules import SMALL_MODULE_BYTES, Modules
from plasm_core.daemon.upload_places import RETRY_S, UploadPlaces
from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.fair_shares import Holder
from plasm_core.protocol.channels import PROVABLE, Channel
from plasm_core.protocol.messages import Submit, Uploads
from plasm_core.records import Manifest
from plasm_core.sandbox.process.file_pack import check_files

PROOF_S = 0.01
PROOF_BYTES_PER_S = 128 << 20
"""The delay of the answer to a stranger's proof of possession: `PROOF_S`, and the module's size at this rate."""

_COPY_BYTES = 32 << 20
"""How much of an upload a thread copies and hashes before the loop is asked again: its client may have left."""

T = TypeVar("T")


class Offers:
    """A node's reservations, bounded in number and time. Methods that block do so in threads.

    A reservation may be discarded at any time until its job is accepted, because the client sends it again. So when
    a client finds no place, or no room for its bytes, the client with the most reservations loses one.
    """

    def __init__(self, store: Store, queue: FairQueue[int], quotas: Quotas, limits: QueueLimits) -> None:
        self._quotas = quotas
        self._store = store
        self._queue = queue
        self._offers: dict[Key, Offer] = {}
        self._places = UploadPlaces(limits)
        self._limits = limits

    def __len__(self) -> int:
        return len(self._offers)

    def has(self, offer: Offer) -> bool:
        """Return whether a reservation has been neither accepted nor discarded."""
        return self._offers.get(offer.key) is offer

    @property
    def limits(self) -> QueueLimits:
        """The limits on the number and the duration of reservations."""
        return self._limits

    def reconfigure(self, limits: QueueLimits) -> None:
        """Change the limits on the number and the duration of reservations."""
        self._limits = limits
        self._places.reconfigure(limits)

    async def make(self, key: Key, owner: Owner, manifest: Manifest, submit: Submit) -> Offer:
        """Return the reservation for a job: the existing one with the bytes that it has, or a new one.

        Hold it at once.

        Call `take_over` first. The size of a new upload is charged to the client's quota at once.

        Raises: `RefusedError` (`too_many_offers`, `policy`), `QueueFullError`, `StorageFullError`, `StorageError`.
        """
        sizes, found = submit.sizes, self._offers.get(key)
        if found is not None:
            if (found.sizes, found.owner, found.route) == (sizes, owner, submit.route):
                found.challenge = secrets.token_bytes(32)
                return found
            await self.discard(found)
        self._quotas.check(owner.counted)
        await self._places.take(owner.holder, self._givers, self._give_up)
        try:
            place = self._queue.reserve(owner.line_for(submit.route), owner.holder)
            try:
                is_small = sum(_input_sizes(sizes).values()) <= SMALL_BYTES
                inputs = await self._with_room(
                    not is_small,
                    owner.holder,
                    self._store.staged_bytes(manifest, _input_sizes(sizes)),
                    self._store.giver,
                    lambda: self._store.stage(manifest, _input_sizes(sizes), owner.holder),
                )
            except BaseException:
                place.release()
                raise
        except BaseException:
            self._places.give_back(owner.holder)
            raise
        if key in self._offers:  # another stream was faster
            place.release()
            self._places.give_back(owner.holder)
            await in_thread_if(not inputs.is_small, inputs.discard)
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
            parts={channel: Part() for channel in PROVABLE if channel in sizes.channels},
        )
        self._offers[key] = offer
        self._quotas.charge(owner.counted, upload_bytes=sizes.total)
        self.extend(offer)
        return offer

    async def _with_room(
        self,
        waits: bool,
        holder: Holder,
        amount_bytes: int,
        choose: Callable[[Holder, int, set[str]], str | None],
        reserve: Callable[[], T],
    ) -> T:
        """Reserve bytes; the largest holder of uploads gives them if there are none. `waits`: it is for the disk.

        Raises: `StorageFullError`, `StorageError`.
        """
        while True:
            try:
                return await in_thread_if(waits, reserve)
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
        """Wait until no session holds the job's reservation, and return whether that took a wait.

        A session that still uploads is cut off, because the client has come back on another stream. A session whose
        upload is complete keeps it: it is about to submit the job.
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
        """Hold a reservation that no session holds, for an upload. Raises: the error that it was cut off with."""
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
        """Record that the upload made progress, which restarts its timeout."""
        offer.expires_at = trio.current_time() + self.limits.offer_s

    async def begin(self, offer: Offer, channel: Channel) -> None:
        """Reserve the room for a channel's bytes, unless that was done. Raises: as `write`.

        This may wait until the session of another client has given up its upload, which may wait for a third: unlike
        the writing it must stay open to cancellation.
        """
        part = offer.parts.get(channel)
        if part is None or part.upload is not None or part.pin is not None:
            return
        try:
            part.begun(await self._begin(offer, channel))
        except (RefusedError, StorageError):
            await self.discard(offer)
            raise

    async def write(self, offer: Offer, channel: Channel, data: bytes) -> None:
        """Store bytes of a channel. Raises: `RefusedError`, `StorageError`; the reservation is then discarded."""
        try:
            part = offer.parts.get(channel)
            if part is None:
                write = functools.partial(offer.inputs.write, channel.label)
                await self._charged(offer, not offer.inputs.is_small, write, data)
            elif part.pin is not None:  # the client has proved that it has all of it
                raise RefusedError("digest_mismatch", f"the {channel.label} is longer than was announced")
            else:
                upload = part.upload or part.begun(await self._begin(offer, channel))
                await self._charged(offer, upload.waits, upload.write, data)
        except (RefusedError, StorageError):
            await self.discard(offer)
            raise
        self.extend(offer)

    async def copy(self, offer: Offer, channel: Channel, fd: int) -> int:
        """Store some of the next bytes of a channel from a descriptor that has all of them. Return how many.

        Raises: as `write`, of which it is the same but for the number of threads that it takes.
        """
        try:
            part = offer.parts[channel]
            upload = part.upload or part.begun(await self._begin(offer, channel))
            count = min(_COPY_BYTES, upload.size_bytes - upload.received_bytes)
            await self._charged(offer, True, upload.copy, fd, count)
        except (RefusedError, StorageError):
            await self.discard(offer)
            raise
        self.extend(offer)
        return count

    async def _charged(self, offer: Offer, waits: bool, work: Callable[..., T], *arguments: object) -> T:
        """Work for an upload, in a thread if that `waits`, and charge the processor time to its client.

        Failed work is charged, too: otherwise a client could have the node compare wrong files for nothing.
        """
        if not offer.owner.counted:  # a user of this machine has no quotas
            return await in_thread_if(waits, work, *arguments)
        cpu_s = 0.0

        def timed() -> T:
            nonlocal cpu_s
            began_s = time.thread_time()
            try:
                return work(*arguments)
            finally:
                cpu_s = time.thread_time() - began_s

        try:
            return await in_thread_if(waits, timed)
        finally:
            self._quotas.charge(offer.owner.counted, cpu_s=cpu_s)

    async def _begin(self, offer: Offer, channel: Channel) -> ModuleUpload:
        """Begin the upload of a module or a tree. Raises: `StorageError`."""
        size, holder = offer.sizes.of(channel), offer.owner.holder
        stored, digest = self._stored(channel), _digest(offer, channel)
        return await self._with_room(
            size > SMALL_MODULE_BYTES,
            holder,
            size,
            stored.giver,
            lambda: stored.upload(digest, size, holder),
        )

    def _stored(self, channel: Channel) -> Modules:
        return self._store.modules if channel is Channel.MODULE else self._store.trees

    async def prove(self, offer: Offer, proof: str, channel: Channel = Channel.MODULE) -> bool:
        """Return whether a client has proved that it has a module, or files, which this node stores.

        They are then pinned.

        A stranger's answer comes at a time that depends on the announced size alone, unless the node is so busy
        that the work takes longer; the work is the same whether the module is stored or not.
        """
        size = offer.sizes.of(channel)
        unsent = size - offer.parts[channel].received(size)
        due = trio.current_time() + PROOF_S + size / PROOF_BYTES_PER_S
        known = await self._charged(offer, True, self._prove, offer, proof, channel)
        if known:
            self._quotas.charge(offer.owner.counted, upload_bytes=-unsent)
        if offer.owner.counted:
            await trio.sleep_until(due)
        return known

    def _prove(self, offer: Offer, proof: str, channel: Channel) -> bool:
        stored, digest = self._stored(channel), _digest(offer, channel)
        if not stored.is_proved(digest, offer.sizes.of(channel), offer.challenge, proof):
            return False
        pin = stored.pin(digest)
        if pin is None:  # deleted a moment ago
            return False
        part = offer.parts[channel]
        part.drop()
        part.stored(pin)
        return True

    async def take(self, offer: Offer) -> Offer:
        """Store a complete reservation's module and files, and pin them.

        The caller must then accept or discard the reservation.

        Raises: `RefusedError` (`digest_mismatch`), `StorageError`; the reservation is then discarded.
        """
        offer.is_admitted = True
        try:
            for part in offer.parts.values():
                part.store_small()
            waits = offer.manifest.files is not None
            waits = waits or any(part.pin is None for part in offer.parts.values())
            await self._charged(offer, waits, self._complete, offer)
        except Exception:
            await self.discard(offer)
            raise
        return offer

    def _complete(self, offer: Offer) -> None:
        for channel, part in offer.parts.items():
            stored, digest = self._stored(channel), _digest(offer, channel)
            part.commit(functools.partial(stored.upload, digest, offer.sizes.of(channel), offer.owner.holder))
        offer.inputs.check(offer.manifest)
        if offer.manifest.files is not None:
            with self._store.trees.open(offer.manifest.files.tree) as pack:
                check_files(offer.manifest.files, pack)

    def remove(self, offer: Offer) -> None:
        """Drop an accepted offer and free its reservation."""
        offer.place.release()
        if self._offers.get(offer.key) is offer:
            del self._offers[offer.key]
            self._places.give_back(offer.owner.holder)
        for part in offer.parts.values():
            part.release()

    async def discard(self, offer: Offer) -> None:
        """Discard a reservation with its uploaded bytes and its place in the queue."""
        self.remove(offer)
        await in_thread_if(not offer.is_small, _discard, offer)

    async def expire(self) -> None:
        """Discard reservations whose upload has stopped or is too slow, once a second. Does not return."""
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
        """Return why a reservation ends: its upload takes too long or is too slow; None if it may continue."""
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
        """Discard all reservations. Wait for those whose jobs are being accepted."""
        while self._offers:
            offer = next(iter(self._offers.values()))
            if offer.held_by is None:
                await self.discard(offer)
            else:
                offer.cut_off(
                    RefusedError("shutting_down", "the node is shutting down", retry_after_s=RETRY_S)
                )
                await offer.freed.park()


def _discard(offer: Offer) -> None:
    offer.inputs.discard()
    for part in offer.parts.values():
        part.drop()


def _digest(offer: Offer, channel: Channel) -> str:
    """Return the expected digest of a channel's bytes."""
    files = offer.manifest.files
    return offer.manifest.module if channel is Channel.MODULE or files is None else files.tree


def _input_sizes(sizes: Uploads) -> dict[str, int]:
    return {"args": sizes.args, "env": sizes.env, "stdin": sizes.stdin}
