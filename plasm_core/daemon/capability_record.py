"""The node's capability record: its signed description of itself, for clients that look for a node."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from plasm_core.config import Config
from plasm_core.daemon.scheduling.slots import WORKER_BYTES
from plasm_core.local_node import LocalNode
from plasm_core.machine import Demand
from plasm_core.plugins.interfaces import Signer
from plasm_core.protocol import JOB_PROTOCOL
from plasm_core.records.capabilities import (
    CAPABILITIES_FORMAT,
    CapabilityRecord,
    EngineOffer,
    Load,
    OfferedLimits,
)
from plasm_core.records.manifest import GAS_SCHEDULES
from plasm_core.signing import sign_record
from plasm_core.version import __version__

_LIFE = timedelta(minutes=30)
_FRESH_S = 1.0


def record_of(
    node: LocalNode, config: Config, *, lent: Demand, lends: bool, load: Load, addresses: tuple[str, ...]
) -> CapabilityRecord:
    """Return the node's current capability record. `lent`: processors and memory for all jobs together."""
    runtime, limits = node.runtime(), config.limits
    engine = EngineOffer(
        name=runtime.name,
        version=runtime.version(),
        features=tuple(sorted(runtime.features)),
    )
    now = datetime.now(timezone.utc)
    return CapabilityRecord(
        format=CAPABILITIES_FORMAT,
        peer=str(node.signer.peer_id),
        agent=f"plasm/{__version__}",
        profiles=tuple(GAS_SCHEDULES),
        gas_schedules=tuple(GAS_SCHEDULES.values()),
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
            tree_bytes=limits.tree_bytes,
        ),
        capabilities=config.policy.grants,
        lends=lends,
        load=load,
        protocols=(JOB_PROTOCOL,),
        addresses=addresses,
        issued_at=now,
        expires_at=now + _LIFE,
    )


class SignedRecord:
    """The signed capability record. Anybody may ask for it, so it is made and signed at most once a second."""

    def __init__(self, signer: Signer, make: Callable[[], CapabilityRecord]) -> None:
        self._signer = signer
        self._make = make
        self._envelope = ""
        self._signed_at = float("-inf")

    def envelope(self) -> str:
        """Return the envelope with the record, as JSON."""
        now = time.monotonic()
        if now - self._signed_at > _FRESH_S:
            self._envelope = sign_record(self._make(), self._signer).to_json().decode()
            self._signed_at = now
        return self._envelope
