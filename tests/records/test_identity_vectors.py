"""Hold the code against tests/vectors/identities.json, and the file against what wrote it."""

import ast
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from plasm_core.records import (
    Envelope,
    Handle,
    Limits,
    Manifest,
    PeerId,
    Receipt,
    job_id,
    key_id,
    list_digest,
    pae,
    task_digest,
)
from plasm_core.records.digest import encode_list
from plasm_core.records.spki import public_key_pem, read_public_key
from tests.support.receipts import SeedSigner
from tests.vectors import generate

VECTORS: dict[str, Any] = json.loads(generate.FILE.read_bytes())


def test_the_file_is_what_the_generator_writes() -> None:
    assert generate.FILE.read_text(encoding="utf-8") == generate.render()


def test_the_generator_uses_none_of_the_code_it_checks() -> None:
    tree = ast.parse(Path(generate.__file__).read_bytes())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    roots = {name.partition(".")[0] for name in imported}
    assert roots == {"base64", "cryptography", "hashlib", "hmac", "json", "pathlib", "struct", "typing"}


@pytest.mark.parametrize("vector", VECTORS["lists"], ids=lambda vector: vector["name"])
def test_a_list(vector: Any) -> None:
    items = [bytes.fromhex(item) for item in vector["items_hex"]]

    assert encode_list(items).hex() == vector["encoding_hex"]
    assert list_digest(items) == vector["digest"]


@pytest.mark.parametrize("vector", VECTORS["tasks"], ids=lambda vector: vector["name"])
def test_a_task(vector: Any) -> None:
    task = dict(vector["task"])
    gas, memory, output = (int(task.pop(name)) for name in ("gas", "memory", "output"))
    limits = Limits(gas=gas, memory_bytes=memory, output_bytes=output)

    assert task_digest(**task, limits=limits) == vector["task_digest"]


@pytest.mark.parametrize("vector", VECTORS["manifests"], ids=lambda vector: vector["name"])
def test_a_manifest(vector: Any) -> None:
    data = vector["manifest"].encode()

    assert job_id(data) == vector["job_id"]
    assert Manifest.from_json(data).task_digest == vector["task_digest"]


def test_all_the_manifests_are_different_jobs() -> None:
    jobs = [vector["job_id"] for vector in VECTORS["manifests"]]

    assert len(set(jobs)) == len(jobs)


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: vector["seed_hex"][:8])
def test_a_key(vector: Any) -> None:
    key = bytes.fromhex(vector["public_key_hex"])
    peer = PeerId(key)

    assert SeedSigner(bytes.fromhex(vector["seed_hex"])).peer_id == peer
    assert key_id(key) == vector["keyid"]
    assert peer.multihash.hex() == vector["multihash_hex"]
    assert str(peer) == vector["peer_id"]
    assert PeerId.parse(vector["peer_id"]) == peer
    assert public_key_pem(peer) == vector["pem"]
    assert read_public_key(vector["pem"].encode()) == peer


@pytest.mark.parametrize("vector", VECTORS["handles"], ids=lambda vector: vector["job_id"][:8])
def test_a_handle(vector: Any) -> None:
    handle = Handle(
        job_id=vector["job_id"],
        secret=bytes.fromhex(vector["secret_hex"]),
        peer=PeerId.parse(vector["peer_id"]),
    )

    assert str(handle) == vector["text"]
    assert Handle.parse(vector["text"]) == handle
    for token in vector["tokens"]:
        assert handle.token(PeerId.parse(token["peer_id"])).hex() == token["token_hex"]


@pytest.mark.parametrize("vector", VECTORS["pae"], ids=range(len(VECTORS["pae"])))
def test_a_pre_authentication_encoding(vector: Any) -> None:
    encoded = pae(vector["payload_type"], bytes.fromhex(vector["payload_hex"]))

    assert encoded.hex() == vector["pae_hex"]


def test_a_signed_envelope() -> None:
    vector = VECTORS["envelope"]
    signer = SeedSigner(bytes.fromhex(vector["seed_hex"]))
    envelope = Envelope.from_json(vector["envelope"].encode())

    assert envelope.payload.decode() == vector["payload"]
    assert envelope.to_json().decode() == vector["envelope"]
    assert signer.sign(envelope.signed_bytes).hex() == vector["signature_hex"]
    assert envelope.signatures[0].sig.hex() == vector["signature_hex"]
    assert envelope.signatures[0].key_id == key_id(signer.peer_id.public_key)


def test_the_receipt_in_the_envelope_is_a_good_one() -> None:
    receipt = Receipt.from_statement(VECTORS["envelope"]["payload"].encode())

    assert receipt.node == SeedSigner().peer_id
    assert receipt.claims.peak_memory_bytes == 2**64 - 1
    assert receipt.asked.job_id == VECTORS["manifests"][0]["job_id"]


def test_numbers_that_lose_digits_elsewhere_are_strings() -> None:
    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for item in value.values() for number in numbers(item)]
        if isinstance(value, list):
            return [number for item in value for number in numbers(item)]
        return [value] if isinstance(value, (int, float)) else []

    assert numbers(VECTORS) == []
    assert struct.pack("<Q", 2**53 - 1).hex() in VECTORS["tasks"][4]["preimage_hex"]
