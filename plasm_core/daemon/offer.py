"""An offer: one reservation, with what has arrived of its job's upload."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import attrs
import trio

from plasm_core.daemon.scheduling.fair_queue import Place
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.store import ModuleUpload, Pin, StagedInputs
from plasm_core.errors import PlasmError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import Uploads
from plasm_core.records import Manifest

Key = tuple[str, bytes]
"""A job's id and its token."""


class SupersededError(PlasmError):
    """The client continues its upload on another stream."""


@attrs.define(eq=False)
class Part:
    """A module, or a tree of files, on its way: as an upload, or stored and pinned."""

    upload: ModuleUpload | None = None
    pin: Pin | None = None

    def received(self, size: int) -> int:
        """Return how many bytes have been received."""
        if self.pin is not None:
            return size
        return self.upload.received_bytes if self.upload else 0

    def begun(self, upload: ModuleUpload) -> ModuleUpload:
        """Note an upload that has begun, and return it."""
        self.upload = upload
        return upload

    def stored(self, pin: Pin) -> None:
        """Note that it is stored, and no upload any more."""
        self.pin, self.upload = pin, None

    def store_small(self) -> None:
        """Store an upload that is in memory, if the same bytes are stored already."""
        if self.pin is None and self.upload is not None and self.upload.is_small:
            pin = self.upload.pin()
            if pin is not None:
                self.stored(pin)

    def commit(self, begin: Callable[[], ModuleUpload]) -> None:
        """Store the module or tree unless it is stored. `begin` starts an upload of one that has no bytes yet.

        Raises: `RefusedError`, `StorageError`.
        """
        if self.pin is None:
            upload = self.upload or begin()
            self.upload = None
            self.pin = upload.commit()

    def release(self) -> None:
        """Release the stored bytes."""
        pin, self.pin = self.pin, None
        if pin is not None:
            pin.release()

    def drop(self) -> None:
        """Forget what there is of it."""
        pin, self.pin = self.pin, None
        upload, self.upload = self.upload, None
        if pin is not None:
            pin.release()
        if upload is not None:
            upload.discard()


@attrs.define(eq=False, kw_only=True)
class Offer:
    """A reservation: one job whose upload is not complete or not accepted. It survives its connection for a while.

    `held_by`: the cancel scope of the session that uploads, None if no session does; `why`: the error that it was
    cancelled with. `is_admitted`: the upload is complete, and no other session may take over the reservation.
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
    parts: dict[Channel, Part] = attrs.field(factory=dict)
    """The module and, of a job with files, its tree."""
    held_by: trio.CancelScope | None = None
    why: PlasmError | None = None
    freed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    is_admitted: bool = False
    expires_at: float = 0.0
    begun_at: float = attrs.field(factory=trio.current_time)

    @property
    def received(self) -> Uploads:
        """The bytes that have arrived on each channel."""
        parts = {channel.label: part.received(self.sizes.of(channel)) for channel, part in self.parts.items()}
        return Uploads(**parts, **self.inputs.received)

    @property
    def received_bytes(self) -> int:
        """The bytes that have arrived on all channels together."""
        return self.received.total

    @property
    def is_small(self) -> bool:
        """Whether all received bytes are in memory."""
        uploads = [part.upload for part in self.parts.values() if part.upload is not None]
        return self.inputs.is_small and all(upload.is_small for upload in uploads)

    @property
    def is_complete(self) -> bool:
        """Whether all announced bytes have arrived."""
        sizes, inputs = self.sizes, self.inputs.received
        return all(
            part.received(sizes.of(channel)) == sizes.of(channel) for channel, part in self.parts.items()
        ) and ((inputs["args"], inputs["env"], inputs["stdin"]) == (sizes.args, sizes.env, sizes.stdin))

    def cut_off(self, why: PlasmError) -> None:
        """End the session that uploads, if there is one, with an error."""
        if self.held_by is not None:
            self.why = why
            self.held_by.cancel()
