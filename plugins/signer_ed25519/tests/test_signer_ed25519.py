"""Hold the signer: it makes its key when it is needed, and only then."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from plasm_core.errors import ConfigError, KeyFileError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Signer
from plasm_core.records import Decision
from plasm_core.records.claim import Claim
from plasm_core.signing import sign_receipt
from plasm_signer_ed25519 import Ed25519Signer
from plasm_signer_ed25519.keyfile import create, load
from plasm_signer_ed25519.verifier import SignatureVerifier, signed_by
from tests.support.receipts import OTHER_SIGNER, SIGNER, envelope, receipt

ME, OTHER = SIGNER.peer_id, OTHER_SIGNER.peer_id


def test_by_default_the_key_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    signer = loading.create(Signer, "ed25519", {})  # type: ignore[type-abstract]

    assert isinstance(signer, Ed25519Signer)
    assert signer.key == str(tmp_path / "plasm" / "node.key")


def test_asking_for_the_key_makes_none(tmp_path: Path) -> None:
    signer = Ed25519Signer(key=str(tmp_path / "k"))

    assert signer.existing_peer_id() is None
    assert not (tmp_path / "k").exists()


def test_signing_makes_the_key_once(tmp_path: Path) -> None:
    first, second = (Ed25519Signer(key=str(tmp_path / "k")) for _ in range(2))
    message = b"message"

    signature = first.sign(message)

    assert len(signature) == 64
    assert first.peer_id == second.peer_id == second.existing_peer_id()
    assert second.sign(message) == signature
    Ed25519PublicKey.from_public_bytes(first.peer_id.public_key).verify(signature, message)


def test_a_key_is_made_on_demand_but_not_twice(tmp_path: Path) -> None:
    signer = Ed25519Signer(key=str(tmp_path / "k"))

    assert signer.create_key() == str(tmp_path / "k")
    with pytest.raises(KeyFileError):
        signer.create_key()


@pytest.mark.parametrize(
    "change", [lambda pem: pem, lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"a key\n" + pem]
)
def test_a_key_is_read_in_the_usual_form_and_in_other_forms_of_pem(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "k"
    key = create(path)

    path.write_bytes(change(path.read_bytes()))

    assert load(path).private_bytes_raw() == key.private_bytes_raw()


def test_a_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match="not Ed25519"):
        load(path)


def test_a_bad_key_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("garbage")
    (tmp_path / "k").chmod(0o600)
    signer = Ed25519Signer(key=str(tmp_path / "k"))

    for use in (signer.existing_peer_id, lambda: signer.sign(b""), lambda: signer.peer_id):
        with pytest.raises(KeyFileError):
            use()


def test_a_representation_shows_where_the_key_is_but_not_the_key(tmp_path: Path) -> None:
    signer = Ed25519Signer(key=str(tmp_path / "k"))
    signer.sign(b"")

    assert repr(signer) == f"Ed25519Signer(key='{tmp_path / 'k'}')"


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^signer\.ed25519\.kye: unknown field, did you mean key\?$"):
        loading.create(Signer, "ed25519", {"kye": "x"})  # type: ignore[type-abstract]


@pytest.mark.parametrize("value", [5, True, ["a"]])
def test_a_key_that_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^signer\.ed25519\.key: expected"):
        loading.create(Signer, "ed25519", {"key": value})  # type: ignore[type-abstract]


def test_a_receipt_it_signs_names_it(tmp_path: Path) -> None:
    signer = Ed25519Signer(key=str(tmp_path / "k"))
    signed = sign_receipt(receipt(node=signer.peer_id), signer)

    assert signed_by(signed, signer.peer_id)
    assert not signed_by(signed, ME)


def claim(*, trusted: bool = True, forged: bool = False) -> Claim:
    signed = envelope(receipt(), signer=OTHER_SIGNER if forged else SIGNER)
    return Claim(envelope=signed, receipt=receipt(), trusted=frozenset({ME} if trusted else ()))


GOOD, UNTRUSTED, FORGED = claim(), claim(trusted=False), claim(forged=True)


@pytest.mark.parametrize(
    ("claims", "decision"),
    [
        ([], Decision.UNDECIDED),
        ([GOOD], Decision.ACCEPT),
        ([GOOD, GOOD], Decision.ACCEPT),
        ([GOOD, UNTRUSTED], Decision.UNDECIDED),
        ([UNTRUSTED, FORGED, GOOD], Decision.REJECT),
        ([GOOD, FORGED], Decision.REJECT),
    ],
)
def test_of_several_claims_each_must_hold(claims: list[Claim], decision: Decision) -> None:
    opinion = SignatureVerifier().judge(claims)

    assert opinion.decision is decision
    assert opinion.established == (("signature",) if decision is Decision.ACCEPT else ())
