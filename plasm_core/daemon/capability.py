"""What the node says of itself to whoever looks for one: its capability record."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import plasm_core
from plasm_core.abc import Signer
from plasm_core.capabilities import sign_record
from plasm_core.config import Config
from plasm_core.machine import Demand
from plasm_core.node import Node
from plasm_core.records import GAS_SCHEDULE, PROFILE
from plasm_core.records.capabilities import (
    CAPABILITIES_FORMAT,
    CapabilityRecord,
    EngineOffer,
    Load,
    OfferedLimits,
)
from plasm_core.slots import WORKER_BYTES
from plasm_core.wire import JOB_PROTOCOL

_LIFE = timedelta(minutes=30)
_FRESH_S = 1.0


def record_of(
    node: Node, config: Config, *, lent: Demand, lends: bool, load: Load, addresses: tuple[str, ...]
) -> CapabilityRecord:
    """Return what a node says of itself now. `lent` is what jobs may have of the machine in all."""
    runtime, limits = node.runtime(), config.limits
    engine = EngineOffer(
        name=runtime.name, version=runtime.version(), features=tuple(sorted(runtime.features))
    )
    now = datetime.now(timezone.utc)
    return CapabilityRecord(
        format=CAPABILITIES_FORMAT,
        peer=str(node.signer.peer_id),
        agent=f"plasm/{plasm_core.__version__}",
        profiles=(PROFILE,),
        gas_schedules=(GAS_SCHEDULE,),
        wasi=("preview1",),
        engines=(engine,),
        architecture=platform.machine().lower() or "unknown",
        cpu=lent.cpu,
        memory_bytes=lent.memory_bytes,
        limits=OfferedLimits(
            gas=limits.gas,
            memory_bytes=max(0, lent.memory_bytes - WORKER_BYTES),
            output_bytes=limits.output_bytes,
            wall_time_s=limits.wall_time_s,
            cpu=lent.cpu,
            module_bytes=config.admission.module_bytes,
            stdin_bytes=limits.stdin_bytes,
        ),
        capabilities=config.policy.capabilities,
        lends=lends,
        load=load,
        protocols=(JOB_PROTOCOL,),
        addresses=addresses,
        issued_at=now,
        expires_at=now + _LIFE,
    )


class SignedRecord:
    """A record as it is handed out: anybody may ask, so it is made and signed once a second at most."""

    def __init__(self, signer: Signer, make: Callable[[], CapabilityRecord]) -> None:
        self._signer = signer
        self._make = make
        self._envelope = ""
        self._signed_at = float("-inf")

    def envelope(self) -> str:
        """Return the signed record, as JSON."""
        now = time.monotonic()
        if now - self._signed_at > _FRESH_S:
            self._envelope = sign_record(self._make(), self._signer).to_json().decode()
            self._signed_at = now
        return self._envelope
