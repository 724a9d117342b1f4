"""Hold signing: a run becomes a receipt that says what was, signed over exactly its bytes."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import Outcome, PeerId, Receipt, job_id, key_id, sha256
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.records.run import Run
from plasm_core.signing import _was_valid, is_signature_of, receipt_of, sign_receipt
from tests.support.receipts import MOMENT, SIGNER, manifest


def digest_of(*parts: bytes) -> OutputDigest:
    hasher = OutputHasher()
    for part in parts:
        hasher.update(part)
    return hasher.digest


def issued(outcome: Outcome, capabilities: tuple[str, ...] = ()) -> Receipt:
    asked = manifest(capabilities=capabilities)
    return receipt_of(
        Run(
            outcome=outcome,
            gas_used=7,
            started_at=MOMENT,
            finished_at=MOMENT + timedelta(seconds=1.5),
            wall_time_s=1.4996,
            cpu_time_s=0.25,
            peak_memory_bytes=1 << 20,
        ),
        {OutputStream.STDOUT: digest_of(b"out", b"put"), OutputStream.STDERR: digest_of()},
        manifest_json=asked.to_json(),
        manifest=asked,
        runtime=loading.create(Runtime, "wasmtime", {}),  # type: ignore[type-abstract]
        isolation="process",
        node=SIGNER.peer_id,
        attempt=2,
    )


def test_output_is_taken_as_it_comes() -> None:
    digest = digest_of(b"ab", b"", b"c")

    assert digest == OutputDigest(size_bytes=3, sha256=sha256(b"abc"))
    assert digest_of() == OutputDigest(size_bytes=0, sha256=sha256(b""))


def test_a_receipt_says_what_was_asked_what_came_and_who_says_so() -> None:
    receipt = issued(Outcome(kind="exited", code=0))

    assert receipt.asked.job_id == job_id(manifest().to_json())
    assert receipt.asked.task_digest == manifest().task_digest
    assert (receipt.stdout, receipt.result.stdout_bytes) == (sha256(b"output"), 6)
    assert (receipt.stderr, receipt.result.stderr_bytes) == (sha256(b""), 0)
    assert (receipt.claims.wall_time_ms, receipt.claims.cpu_time_ms) == (1500, 250)
    assert (receipt.claims.attempt, receipt.claims.runtime.name) == (2, "wasmtime")
    assert receipt.node == SIGNER.peer_id
    assert receipt.result.reproducible


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(kind="cancelled", detail="on request"),
        Outcome(kind="timed_out", detail="after 5 s of wall time"),
        Outcome(kind="out_of_gas"),
        Outcome(kind="trapped", trap="unreachable"),
        Outcome(kind="system_error", detail="why"),
    ],
)
def test_a_job_that_failed_gets_a_receipt_too(outcome: Outcome) -> None:
    signed = sign_receipt(issued(outcome), SIGNER)

    assert Receipt.from_statement(signed.payload).result.outcome == outcome


def test_a_job_that_used_a_capability_is_not_reproducible() -> None:
    assert not issued(Outcome(kind="exited", code=0), ("clock.real",)).result.reproducible


def test_what_is_signed_is_the_pre_authentication_encoding_of_the_payload() -> None:
    receipt = issued(Outcome(kind="exited", code=0))
    signed = sign_receipt(receipt, SIGNER)
    (signature,) = signed.signatures

    assert signed.payload == receipt.to_statement()
    assert signature.key_id == key_id(SIGNER.peer_id.public_key)
    assert signed.signed_bytes.startswith(b"DSSEv1 28 application/vnd.in-toto+json ")
    Ed25519PublicKey.from_public_bytes(SIGNER.peer_id.public_key).verify(signature.sig, signed.signed_bytes)


def test_an_answer_about_a_signature_is_given_for_its_own_bytes_only() -> None:
    """Answers are remembered: one about other bytes must not be taken for them."""
    message = b"a receipt"
    signature = SIGNER.sign(message)
    changed = bytes([signature[0] ^ 1]) + signature[1:]
    other = PeerId.from_public_key(Ed25519PrivateKey.generate().public_key().public_bytes_raw())

    for _ in range(2):
        assert is_signature_of(SIGNER.peer_id, signature, message)
        assert not is_signature_of(SIGNER.peer_id, signature, message + b" ")
        assert not is_signature_of(SIGNER.peer_id, changed, message)
        assert not is_signature_of(other, signature, message)


def test_what_is_no_signature_by_its_length_is_not_remembered() -> None:
    """A node could send a megabyte as the signature of each short receipt, and the client would keep 64 of them."""
    before = _was_valid.cache_info()
    for size in (0, 63, 65, 100_000):
        assert not is_signature_of(SIGNER.peer_id, bytes(size), b"a receipt")

    assert _was_valid.cache_info() == before
