"""Compute identities.json from docs/determinism.md and the standards, with nothing of Plasm's own code.

`python tests/vectors/generate.py` writes the file again.
"""

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

FILE = Path(__file__).with_name("identities.json")
SEED = bytes(range(32))
OTHER_SEED = bytes(range(255, 223, -1))
PAYLOAD_TYPE = "application/vnd.in-toto+json"
DIGEST_FIELDS = ("module", "args", "env", "stdin", "seed")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# docs/determinism.md, "Three identities"


def encode_list(items: list[bytes]) -> bytes:
    return b"".join(struct.pack("<Q", len(item)) + item for item in items)


def task_preimage(task: Json) -> bytes:
    values = {
        "profile": task["profile"].encode("utf-8"),
        **{name: bytes.fromhex(task[name]) for name in DIGEST_FIELDS},
        "gas": struct.pack("<Q", int(task["gas"])),
        "memory": struct.pack("<Q", int(task["memory"])),
        "output": struct.pack("<Q", int(task["output"])),
        "capabilities": b"\n".join(sorted(name.encode("utf-8") for name in task["capabilities"])),
    }
    order = "profile module args env stdin seed gas memory output capabilities"
    out = b""
    for name in order.split():
        out += struct.pack("<I", len(name)) + name.encode("utf-8")
        out += struct.pack("<Q", len(values[name])) + values[name]
    return out


# libp2p specification, "Peer Ids and Keys"


def public_key(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def multihash(key: bytes) -> bytes:
    protobuf = b"\x08\x01" + b"\x12\x20" + key  # Type = Ed25519, Data = the key
    return bytes([0, len(protobuf)]) + protobuf  # the identity hash


def base58(data: bytes) -> str:
    value, text = int.from_bytes(data, "big"), ""
    while value > 0:
        value, text = value // 58, BASE58[value % 58] + text
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + text


def peer_id(key: bytes) -> str:
    return base58(multihash(key))


# DSSE 1.0.2; securesystemslib's key ids


def pae(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode("utf-8")
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


def key_id(key: bytes) -> str:
    described = {"keytype": "ed25519", "keyval": {"public": key.hex()}, "scheme": "ed25519"}
    return sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode())


def pem(seed: bytes) -> str:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


# tests/vectors/README.md, "Handles"


def handle(job_id: str, secret: bytes, key: bytes) -> str:
    body = bytes.fromhex(job_id) + secret + multihash(key)
    checked = body + hashlib.sha256(body).digest()[:4]
    return "phase0-" + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def token(secret: bytes, key: bytes) -> str:
    return hmac.new(secret, multihash(key), hashlib.sha256).hexdigest()


# the vectors


def list_vector(name: str, items: list[bytes]) -> Json:
    encoding = encode_list(items)
    return {
        "name": name,
        "items_hex": [item.hex() for item in items],
        "encoding_hex": encoding.hex(),
        "digest": sha256(encoding),
    }


def lists() -> list[Json]:
    return [
        list_vector("empty", []),
        list_vector("one empty item", [b""]),
        list_vector("a space is not a boundary", [b"a b"]),
        list_vector("two items", [b"a", b"b"]),
        list_vector("any bytes", [b"\x00\xff\n", "αβγ".encode(), b"--"]),
        list_vector("an environment", [b"LANG=C", b"A=", b"B==x"]),
        list_vector("a long item", [b"x" * 300]),
    ]


PLAIN_TASK: Json = {
    "profile": "plasm.det/v1",
    "module": sha256(b"\0asm\x01\0\0\0"),
    "args": sha256(b""),
    "env": sha256(b""),
    "stdin": sha256(b""),
    "seed": "00" * 32,
    "gas": "10000000000",
    "memory": "268435456",
    "output": "67108864",
    "capabilities": [],
}


def task_vector(name: str, **changes: object) -> Json:
    task = {**PLAIN_TASK, **changes}
    preimage = task_preimage(task)
    return {"name": name, "task": task, "preimage_hex": preimage.hex(), "task_digest": sha256(preimage)}


def tasks() -> list[Json]:
    words = encode_list([b"some", b"words"])
    both = ["random.real", "clock.real"]
    return [
        task_vector("a module without input"),
        task_vector("arguments", args=sha256(words)),
        task_vector("the same as environment", env=sha256(words)),
        task_vector("a seed", seed=SEED.hex()),
        task_vector(
            "the greatest limits", gas="9007199254740991", memory="4294967296", output="1099511627776"
        ),
        task_vector("the least limits", gas="1", memory="65536", output="0"),
        task_vector("one capability", capabilities=["clock.real"]),
        task_vector("capabilities are sorted", capabilities=both),
    ]


def manifest(task: Json) -> Json:
    return {
        "format": "phase.manifest/v0",
        "profile": task["profile"],
        **{name: task[name] for name in DIGEST_FIELDS},
        "limits": {
            "gas": int(task["gas"]),
            "memory_bytes": int(task["memory"]),
            "output_bytes": int(task["output"]),
        },
        "wall_time_s": 60,
        "cpu": 1,
        "capabilities": task["capabilities"],
        "retry": {"attempts": 3},
        "nonce": "000102030405060708090a0b0c0d0e0f",
    }


def manifests() -> list[Json]:
    task = {**PLAIN_TASK, "capabilities": ["random.real", "clock.real"]}
    plain = manifest(task)
    texts = {
        "compact": compact(plain),
        "spaced": json.dumps(plain, indent=2) + "\n",
        "in another order": compact(dict(sorted(plain.items()))),
        "whole numbers as floats": compact(plain).replace("10000000000", "1e10").replace(":60,", ":60.0,"),
        "escaped": compact(plain).replace('"cpu"', '"\\u0063pu"'),
        "another nonce": compact({**plain, "nonce": "ff" * 16}),
    }
    digest = sha256(task_preimage(task))
    return [
        {"name": name, "manifest": text, "job_id": sha256(text.encode()), "task_digest": digest}
        for name, text in texts.items()
    ]


def keys() -> list[Json]:
    return [
        {
            "seed_hex": seed.hex(),
            "public_key_hex": public_key(seed).hex(),
            "keyid": key_id(public_key(seed)),
            "multihash_hex": multihash(public_key(seed)).hex(),
            "peer_id": peer_id(public_key(seed)),
            "pem": pem(seed),
        }
        for seed in (SEED, OTHER_SEED, bytes(32))
    ]


def handles() -> list[Json]:
    peers = [public_key(seed) for seed in (SEED, OTHER_SEED)]
    return [
        {
            "job_id": sha256(secret),
            "secret_hex": secret.hex(),
            "peer_id": peer_id(key),
            "text": handle(sha256(secret), secret, key),
            "tokens": [{"peer_id": peer_id(peer), "token_hex": token(secret, peer)} for peer in peers],
        }
        for secret, key in ((bytes(range(64, 96)), peers[0]), (b"\xff" * 32, peers[1]))
    ]


def paes() -> list[Json]:
    pairs = [
        ("http://example.com/HelloWorld", b"hello world"),  # the DSSE protocol's own
        (PAYLOAD_TYPE, b"{}"),
        ("", b""),
        ("täxt/plain", "größe".encode()),
        (PAYLOAD_TYPE, bytes(range(256))),
    ]
    return [
        {"payload_type": kind, "payload_hex": payload.hex(), "pae_hex": pae(kind, payload).hex()}
        for kind, payload in pairs
    ]


def statement() -> Json:
    """Return the statement of a receipt, with an unknown field that verifiers ignore."""
    vector = manifests()[0]
    task = json.loads(vector["manifest"])
    limits = {"gas": "10000000000", "memoryBytes": "268435456", "outputBytes": "67108864"}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "stdout", "digest": {"sha256": sha256(b"dlroW ,olleH\n")}},
            {"name": "stderr", "digest": {"sha256": sha256(b"")}},
        ],
        "predicateType": "urn:phase:receipt:v0",
        "predicate": {
            "asked": {
                "jobId": vector["job_id"],
                "taskDigest": vector["task_digest"],
                **{name: task[name] for name in ("profile", *DIGEST_FIELDS)},
                "limits": limits,
                "capabilities": sorted(task["capabilities"]),
            },
            "result": {
                "outcome": {"kind": "exited", "code": 0},
                "reproducible": False,
                "gasUsed": "5650",
                "gasSchedule": "plasm.gas/v1",
                "stdoutBytes": "13",
                "stderrBytes": "0",
            },
            "claims": {
                "startedAt": "2026-01-02T03:04:05.006Z",
                "finishedAt": "2026-01-02T03:04:05.149Z",
                "wallTimeMs": "143",
                "cpuTimeMs": "140",
                "peakMemoryBytes": "18446744073709551615",
                "runtime": {"name": "wasmtime", "version": "50.0.1"},
                "isolation": "process",
                "attempt": 1,
            },
            "node": {"peerId": peer_id(public_key(SEED))},
            "note": "größer als 2⁵³ bleibt genau",
        },
    }


def envelope() -> Json:
    payload = compact(statement())
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(pae(PAYLOAD_TYPE, payload.encode()))
    whole = {
        "payload": base64.b64encode(payload.encode()).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(public_key(SEED)), "sig": base64.b64encode(signature).decode()}],
    }
    return {
        "seed_hex": SEED.hex(),
        "payload": payload,
        "payload_type": PAYLOAD_TYPE,
        "signature_hex": signature.hex(),
        "envelope": compact(whole),
    }


def render() -> str:
    """Return the text of identities.json."""
    vectors = {
        "lists": lists(),
        "tasks": tasks(),
        "manifests": manifests(),
        "keys": keys(),
        "handles": handles(),
        "pae": paes(),
        "envelope": envelope(),
    }
    return json.dumps(vectors, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
