"""The capability record: a node's signed description of itself (docs/network.md, "Capabilities").

Everything in it is the node's claim. A client uses it to choose a node; the node's answer to `submit` decides.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.fields import boolean, constrained, integer, names, names_of, one_of, text, timestamp
from plasm_core.records.manifest import CAPABILITIES, Manifest

CAPABILITIES_TYPE = "application/vnd.phase.capabilities+json"
CAPABILITIES_FORMAT = "phase.capabilities/v0"
MAX_CAPABILITIES_BYTES = 65_536

FILES = "files"
"""The feature of engines that run jobs with files."""

_WORD = r"[A-Za-z0-9._+/:@-]+"


@attrs.frozen(kw_only=True)
class EngineOffer:
    """An engine of a node, and the module features (docs/determinism.md) that it supports."""

    json_open = True

    name: str = constrained(text(pattern=r"[a-z0-9]+", maximum=64))
    version: str = constrained(text(pattern=_WORD, maximum=64))
    features: tuple[str, ...] = constrained(names(r"[a-z0-9-]+"))


@attrs.frozen(kw_only=True)
class OfferedLimits:
    """The greatest limits that a job may ask for, and the greatest sizes of its uploads."""

    json_open = True

    gas: int = constrained(integer(1))
    memory_bytes: int = constrained(integer(0))
    output_bytes: int = constrained(integer(0))
    wall_time_s: int = constrained(integer(1))
    cpu: int = constrained(integer(1))
    module_bytes: int = constrained(integer(0))
    stdin_bytes: int = constrained(integer(0))
    tree_bytes: int = constrained(integer(0), default=0)
    """Of the pack of a job's input files (docs/protocol.md)."""


@attrs.frozen(kw_only=True)
class Load:
    """A node's load at the time of signing."""

    json_open = True

    running: int = constrained(integer(0))
    waiting: int = constrained(integer(0))
    capacity: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class CapabilityRecord:
    """A node's description of itself: engines, limits, grants, load and addresses.

    `lends`: it runs strangers' jobs.
    """

    json_open = True

    format: str = constrained(one_of(CAPABILITIES_FORMAT))
    peer: str = constrained(text(pattern=r"[1-9A-HJ-NP-Za-km-z]+", maximum=128))
    agent: str = constrained(text(pattern=r"[^\x00-\x1f\x7f]*", maximum=256))
    profiles: tuple[str, ...] = constrained(names(_WORD))
    gas_schedules: tuple[str, ...] = constrained(names(_WORD))
    wasi: tuple[str, ...] = constrained(names(_WORD))
    engines: tuple[EngineOffer, ...]
    architecture: str = constrained(text(pattern=r"[a-z0-9_]+", maximum=64))
    cpu: int = constrained(integer(1))
    memory_bytes: int = constrained(integer(0))
    limits: OfferedLimits
    capabilities: tuple[str, ...] = constrained(names_of(*CAPABILITIES))
    lends: bool = constrained(boolean())
    load: Load
    protocols: tuple[str, ...] = constrained(names(_WORD, 128))
    addresses: tuple[str, ...] = constrained(names(r"/[!-~]+", 512))
    issued_at: datetime = constrained(timestamp())
    expires_at: datetime = constrained(timestamp())

    def to_json(self) -> bytes:
        """Encode the record as JSON, the payload of its envelope."""
        return encode_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> CapabilityRecord:
        """Parse a record. Unknown fields are ignored. Raises: `InvalidRecordError`."""
        value = parse_json(data, record="capability record", maximum=MAX_CAPABILITIES_BYTES)
        return structure(value, cls, record="capability record")

    @property
    def classes(self) -> tuple[str, ...]:
        """The node classes under which the node lists itself (docs/network.md, "Discovery")."""
        return (
            *(f"wasi/{level}" for level in self.wasi),
            *(f"engine/{engine.name}" for engine in self.engines),
            f"architecture/{self.architecture}",
        )

    def lacks(
        self, manifest: Manifest, *, module_bytes: int, stdin_bytes: int, tree_bytes: int = 0
    ) -> str | None:
        """Return which requirement of a job the node does not meet, by its record, or None."""
        limits, asked = self.limits, manifest.limits
        files = 0 if manifest.files is None else manifest.files.limits.memory_bytes
        if not self.lends:
            return "it does not lend"
        if manifest.profile not in self.profiles:
            return f"profile {manifest.profile}"
        if manifest.files is not None and not any(FILES in engine.features for engine in self.engines):
            return "files"
        missing = sorted(set(manifest.capabilities) - set(self.capabilities))
        if missing:
            return f"capability {missing[0]}"
        for what, wanted, given in (
            ("gas", asked.gas, limits.gas),
            ("memory_bytes", asked.memory_bytes + files, limits.memory_bytes),
            ("output_bytes", asked.output_bytes, limits.output_bytes),
            ("wall_time_s", manifest.wall_time_s, limits.wall_time_s),
            ("cpu", manifest.cpu, limits.cpu),
            ("module_bytes", module_bytes, limits.module_bytes),
            ("stdin_bytes", stdin_bytes, limits.stdin_bytes),
            ("tree_bytes", tree_bytes, limits.tree_bytes),
        ):
            if wanted > given:
                return f"{what} {wanted}, of which it gives {given}"
        return None
