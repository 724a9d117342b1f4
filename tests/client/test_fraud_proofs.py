"""Fraud proofs are kept in private files, once each, and bounded: liars cannot fill a client's disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import attrs
import pytest

from plasm_core.client import fraud_proofs
from plasm_core.client.fraud_proofs import keep_proof
from plasm_core.client.submission import Submission
from plasm_core.records import Envelope, sha256
from plasm_core.records.fraud_proof import FraudProof
from plasm_core.signing import sign_receipt
from plasm_core.testing.claims import MODULE, SeedSigner, manifest, receipt

NODES = [SeedSigner(bytes([number]) * 32) for number in range(1, 6)]


def signed(node: int, gas_used: int = 5650) -> Envelope:
    return sign_receipt(receipt(node=NODES[node].peer_id, gas_used=gas_used), NODES[node])


def test_a_proof_is_a_private_file_that_reads_back(tmp_path: Path) -> None:
    place = tmp_path / "proofs"
    path = keep_proof([signed(0), signed(1, 5651)], {"module": MODULE}, directory=place)

    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    proof = FraudProof.from_json(path.read_bytes())
    assert proof.inputs == {"module": MODULE}
    assert {item.payload for item in proof.envelopes} == {signed(0).payload, signed(1, 5651).payload}


def test_the_same_receipts_give_the_same_file(tmp_path: Path) -> None:
    """A proof that comes again, its receipts in another order, is not another proof."""
    first = keep_proof([signed(0), signed(1, 5651)], {"module": MODULE}, directory=tmp_path)
    again = keep_proof([signed(1, 5651), signed(0)], {"module": MODULE}, directory=tmp_path)

    assert first is not None
    assert first == again
    assert os.listdir(tmp_path) == [first.name]


def test_a_proof_that_was_kept_without_inputs_gets_them(tmp_path: Path) -> None:
    bare = keep_proof([signed(0), signed(1, 5651)], directory=tmp_path)
    whole = keep_proof([signed(0), signed(1, 5651)], {"module": MODULE}, directory=tmp_path)
    again = keep_proof([signed(0), signed(1, 5651)], directory=tmp_path)

    assert bare == whole == again
    assert whole is not None
    assert FraudProof.from_json(whole.read_bytes()).inputs == {"module": MODULE}


def test_a_submission_gives_its_inputs(tmp_path: Path) -> None:
    job = Submission.of(MODULE, stdin=b"input", args=["one"])
    asked = job.manifest
    first = sign_receipt(receipt(of=asked, node=NODES[0].peer_id), NODES[0])
    path = keep_proof([first], job, directory=tmp_path)

    assert path is not None
    inputs = FraudProof.from_json(path.read_bytes()).inputs
    assert set(inputs) == {"module", "args", "stdin"}
    assert all(sha256(data) == getattr(asked, name) for name, data in inputs.items())


def test_an_input_that_is_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fraud_proofs, "MAX_INPUT_BYTES", 100)
    job = Submission.of(MODULE, stdin=b"i" * 101)
    path = keep_proof(
        [sign_receipt(receipt(of=job.manifest, node=NODES[0].peer_id), NODES[0])], job, directory=tmp_path
    )

    assert path is not None
    assert set(FraudProof.from_json(path.read_bytes()).inputs) == {"module"}


def test_nothing_is_kept_of_what_proves_nothing(tmp_path: Path) -> None:
    forged = sign_receipt(receipt(node=NODES[0].peer_id, gas_used=5651), NODES[2])
    clock = receipt(of=manifest(capabilities=("clock.real",)), node=NODES[1].peer_id)

    assert keep_proof([signed(0), forged], directory=tmp_path) is None
    assert keep_proof([sign_receipt(clock, NODES[1])], directory=tmp_path) is None
    assert keep_proof([signed(0)], {"module": b"another"}, directory=tmp_path) is None
    assert os.listdir(tmp_path) == []


def test_the_oldest_are_deleted_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fraud_proofs, "MAX_FILES", 3)
    kept = []
    for number in range(6):
        path = keep_proof([signed(0), signed(1, 6000 + number)], directory=tmp_path)
        assert path is not None
        os.utime(path, (number, number))
        kept.append(path.name)

    assert sorted(os.listdir(tmp_path)) == sorted(kept[-3:])


def test_the_oldest_are_deleted_when_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Submission.of(MODULE, stdin=b"i" * 10_000)
    monkeypatch.setattr(fraud_proofs, "MAX_BYTES", 40_000)
    for number in range(6):
        asked = attrs.evolve(job.manifest)
        first = receipt(of=asked, node=NODES[0].peer_id, gas_used=6000 + number)
        path = keep_proof([sign_receipt(first, NODES[0])], job, directory=tmp_path)
        assert path is not None
        os.utime(path, (number, number))

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 40_000
    assert len(os.listdir(tmp_path)) == 2


def test_a_directory_that_cannot_be_written_to_loses_the_proof_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert keep_proof([signed(0), signed(1, 5651)], directory=tmp_path / "file") is None
