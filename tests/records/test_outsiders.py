"""Have others check us: securesystemslib, in-toto's attestation library, openssl, the Sigstore bundle's shape."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope as OutsideEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]

from plasm_core.records import PAYLOAD_TYPE, PREDICATE_TYPE, Envelope, key_id, sha256
from plasm_core.records.sigstore import bundle
from plasm_core.records.spki import public_key_pem
from tests.support.receipts import OTHER_SIGNER, SIGNER, STDOUT, countersigned, envelope

SIGNED = envelope()
KEY = SIGNER.peer_id.public_key


def outside_key(public_key: bytes) -> Key:
    return SSlibKey(key_id(public_key), "ed25519", "ed25519", {"public": public_key.hex()})


def outside(envelope_json: bytes) -> OutsideEnvelope:
    return OutsideEnvelope.from_dict(json.loads(envelope_json))


def test_securesystemslib_verifies_our_envelope() -> None:
    accepted = outside(SIGNED.to_json()).verify([outside_key(KEY)], threshold=1)

    assert list(accepted) == [key_id(KEY)]


def test_securesystemslib_computes_the_same_pre_authentication_encoding() -> None:
    assert outside(SIGNED.to_json()).pae() == SIGNED.signed_bytes


def test_securesystemslib_counts_our_co_signatures() -> None:
    both = countersigned(SIGNED, OTHER_SIGNER)
    keys = [outside_key(signer.peer_id.public_key) for signer in (SIGNER, OTHER_SIGNER)]

    assert len(outside(both.to_json()).verify(keys, threshold=2)) == 2


def test_securesystemslib_refuses_another_key() -> None:
    with pytest.raises(VerificationError):
        outside(SIGNED.to_json()).verify([outside_key(OTHER_SIGNER.peer_id.public_key)], threshold=1)


def test_we_read_an_envelope_that_securesystemslib_wrote() -> None:
    theirs = json.dumps(outside(SIGNED.to_json()).to_dict()).encode()

    assert Envelope.from_json(theirs) == SIGNED


def test_in_toto_accepts_our_statement() -> None:
    message = json_format.Parse(SIGNED.payload, StatementMessage())
    statement = Statement.copy_from_pb(message)

    statement.validate()
    assert message.predicate_type == PREDICATE_TYPE
    assert [subject.name for subject in message.subject] == ["stdout", "stderr"]
    assert json_format.MessageToDict(message) == json.loads(SIGNED.payload)


def openssl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@pytest.mark.parametrize("intact", [True, False])
def test_openssl_verifies_the_signature(intact: bool, tmp_path: Path) -> None:
    (tmp_path / "pub.pem").write_text(public_key_pem(SIGNER.peer_id))
    (tmp_path / "pae").write_bytes(SIGNED.signed_bytes if intact else SIGNED.signed_bytes + b" ")
    (tmp_path / "sig").write_bytes(SIGNED.signatures[0].sig)
    result = openssl(
        *("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(tmp_path / "pub.pem")),
        *("-sigfile", str(tmp_path / "sig"), "-in", str(tmp_path / "pae")),
    )

    assert (result.returncode == 0) is intact
    assert ("Verified Successfully" in result.stdout) is intact


@pytest.fixture
def exported() -> Any:
    return json.loads(bundle(SIGNED))


def test_the_sigstore_export_is_a_bundle_of_version_0_3(exported: Any) -> None:
    """As sigstore/protobuf-specs' JSON has it: a public key's hint, no log entries, the envelope as it is."""
    assert exported == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key_id(KEY)}, "tlogEntries": []},
        "dsseEnvelope": json.loads(SIGNED.to_json()),
    }


def test_the_bundle_holds_what_cosign_matches_the_file_with(exported: Any) -> None:
    statement = json.loads(base64.b64decode(exported["dsseEnvelope"]["payload"]))

    assert exported["dsseEnvelope"]["payloadType"] == PAYLOAD_TYPE
    assert statement["subject"][0]["digest"] == {"sha256": sha256(STDOUT)}


def test_a_bundle_has_exactly_one_signature() -> None:
    """sigstore_bundle.proto has clients reject a bundle whose envelope has more."""
    both = json.loads(bundle(countersigned(SIGNED, OTHER_SIGNER)))

    assert len(both["dsseEnvelope"]["signatures"]) == 1
