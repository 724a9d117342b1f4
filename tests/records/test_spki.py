"""Hold public keys in PEM: as openssl writes them, and nothing else."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from plasm_core.records.spki import public_key_pem, read_public_key
from tests.support.receipts import SIGNER

PEM = public_key_pem(SIGNER.peer_id)
SPKI = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_pem_is_what_others_write_and_read() -> None:
    assert PEM.encode() == SIGNER.key.public_key().public_bytes(*SPKI)
    assert load_pem_public_key(PEM.encode()) == SIGNER.key.public_key()


@pytest.mark.parametrize(
    "text",
    [PEM, PEM.strip(), PEM.replace("\n", "\r\n"), "Bag Attributes\n" + PEM, PEM.replace("MCow", "MCow\n")],
)
def test_a_public_key_is_read_from_pem(text: str) -> None:
    assert read_public_key(text.encode()) == SIGNER.peer_id


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        PEM.replace("END", "BEGIN").encode(),
        PEM.replace("PUBLIC", "PRIVATE").encode(),
        PEM.replace("MCow", "!!!!").encode(),
        PEM.replace("MCow", "MCo").encode(),
        PEM.replace("MCow", "").encode(),
        PEM.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu").encode(),
        x25519.X25519PrivateKey.generate().public_key().public_bytes(*SPKI),
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*SPKI),
    ],
)
def test_a_key_of_another_type_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_public_key(data)


def test_a_file_of_white_space_is_refused_at_once() -> None:
    """`--key` reads up to 64 KiB, which takes twenty seconds."""
    started = time.process_time()
    with pytest.raises(ValueError, match=r"^not a public key in PEM form$"):
        read_public_key(b"-----BEGIN PUBLIC KEY-----" + b"\n" * 10_000)
    assert time.process_time() - started < 0.1
