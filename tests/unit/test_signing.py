"""Capability records: whose they are, and until when they are believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Envelope, Limits
from plasm_core.records.capabilities import CapabilityRecord, EngineOffer, Load, OfferedLimits
from plasm_core.records.manifest import GAS_SCHEDULE, PROFILE, JobInput, manifest_for
from plasm_core.signing import open_record, sign_record
from plasm_signer_ed25519 import Ed25519Signer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def signer_in(directory: Path) -> Ed25519Signer:
    directory.mkdir(mode=0o700, exist_ok=True)
    return Ed25519Signer(key=str(directory / "node.key"))


def record_of(signer: Ed25519Signer) -> CapabilityRecord:
    return CapabilityRecord(
        format="phase.capabilities/v0",
        peer=str(signer.peer_id),
        agent="plasm/0.1.0",
        profiles=(PROFILE,),
        gas_schedules=(GAS_SCHEDULE,),
        wasi=("preview1",),
        engines=(EngineOffer(name="wasmtime", version="50.0.1", features=("simd",)),),
        architecture="x86_64",
        cpu=2,
        memory_bytes=1 << 30,
        limits=OfferedLimits(
            gas=10**12,
            memory_bytes=1 << 30,
            output_bytes=1 << 20,
            wall_time_s=60,
            cpu=2,
            module_bytes=1 << 20,
            stdin_bytes=1 << 20,
        ),
        capabilities=(),
        lends=True,
        load=Load(running=0, waiting=0, capacity=100),
        protocols=("/phase/job/1.0.0",),
        addresses=("/ip4/192.0.2.1/tcp/4001",),
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=30),
    )


def test_a_record_is_opened_as_it_was_signed(tmp_path: Path) -> None:
    signer = signer_in(tmp_path)
    record = record_of(signer)

    assert open_record(sign_record(record, signer).to_json(), signer.peer_id, now=NOW) == record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: attrs.evolve(record, expires_at=NOW - timedelta(minutes=6)), "expired"),
        (
            lambda record: attrs.evolve(
                record, issued_at=NOW + timedelta(minutes=6), expires_at=NOW + timedelta(minutes=9)
            ),
            "in the future",
        ),
        (lambda record: attrs.evolve(record, expires_at=NOW + timedelta(days=2)), "too long"),
    ],
)
def test_a_record_of_another_time_is_refused(
    tmp_path: Path, change: Callable[[CapabilityRecord], CapabilityRecord], said: str
) -> None:
    signer = signer_in(tmp_path)
    envelope = sign_record(change(record_of(signer)), signer)

    with pytest.raises(InvalidRecordError, match=said):
        open_record(envelope.to_json(), signer.peer_id, now=NOW)


def test_a_record_by_another_key_is_refused(tmp_path: Path) -> None:
    honest, forger = signer_in(tmp_path / "honest"), signer_in(tmp_path / "forger")
    forged = sign_record(record_of(honest), forger).to_json()

    with pytest.raises(InvalidRecordError, match="not signed by"):
        open_record(forged, honest.peer_id, now=NOW)
    with pytest.raises(InvalidRecordError, match="it is of"):
        open_record(forged, forger.peer_id, now=NOW)


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    signer = signer_in(tmp_path)
    envelope = sign_record(record_of(signer), signer)
    changed = attrs.evolve(envelope, payload=envelope.payload.replace(b'"cpu":2', b'"cpu":9', 1))

    assert changed.payload != envelope.payload
    with pytest.raises(InvalidRecordError, match="not signed by"):
        open_record(changed.to_json(), signer.peer_id, now=NOW)


def test_a_receipt_is_no_record(tmp_path: Path) -> None:
    signer = signer_in(tmp_path)
    envelope = sign_record(record_of(signer), signer)

    with pytest.raises(InvalidRecordError, match="payload of type"):
        open_record(
            Envelope(payload=envelope.payload, signatures=envelope.signatures).to_json(),
            signer.peer_id,
            now=NOW,
        )


@pytest.mark.parametrize(
    ("terms", "lacking"),
    [
        ({}, None),
        ({"limits": Limits(gas=10**13, memory_bytes=65_536, output_bytes=0)}, "gas"),
        ({"limits": Limits(gas=1, memory_bytes=2 << 30, output_bytes=0)}, "memory_bytes"),
        ({"limits": Limits(gas=1, memory_bytes=65_536, output_bytes=2 << 20)}, "output_bytes"),
        ({"cpu": 3}, "cpu"),
        ({"wall_time_s": 61}, "wall_time_s"),
        ({"grants": ("clock.real",)}, "capability clock.real"),
    ],
)
def test_what_a_node_lacks_for_a_job_is_named(
    tmp_path: Path, terms: dict[str, object], lacking: str | None
) -> None:
    small = {"limits": Limits(gas=1, memory_bytes=65_536, output_bytes=0)}
    manifest = manifest_for(b"", JobInput(), **(small | terms))

    found = record_of(signer_in(tmp_path)).lacks(manifest, module_bytes=0, stdin_bytes=0)

    assert (found or "").startswith(lacking or "")
    assert (found is None) == (lacking is None)


def test_a_node_that_does_not_lend_is_not_asked(tmp_path: Path) -> None:
    record = attrs.evolve(record_of(signer_in(tmp_path)), lends=False)

    assert record.lacks(manifest_for(b"", JobInput()), module_bytes=0, stdin_bytes=0) == "it does not lend"
