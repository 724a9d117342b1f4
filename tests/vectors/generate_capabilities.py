"""Compute capabilities.json from docs/network.md and the standards, with nothing of Plasm's own code.

`python tests/vectors/generate_capabilities.py` writes the file again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

FILE = Path(__file__).with_name("capabilities.json")
TYPE = "application/vnd.phase.capabilities+json"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SHARDS = 16


def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def peer_id(key: Ed25519PrivateKey) -> str:
    number = int.from_bytes(b"\x00\x24\x08\x01\x12\x20" + raw_public(key), "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "1" + digits


def key_id(key: Ed25519PrivateKey) -> str:
    public = raw_public(key).hex()
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}'
    return hashlib.sha256(text.encode()).hexdigest()


NODE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def time_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def record(**changes: Any) -> Json:
    whole = {
        "format": "phase.capabilities/v0",
        "peer": peer_id(NODE),
        "agent": "plasm/0.1.0 \N{SNOWMAN}",
        "profiles": ["plasm.det/v1"],
        "gas_schedules": ["plasm.gas/v1"],
        "wasi": ["preview1"],
        "engines": [{"name": "wasmtime", "version": "50.0.1+a/b", "features": ["simd", "f32-bits"]}],
        "architecture": "x86_64",
        "cpu": 2,
        "memory_bytes": 1 << 30,
        "limits": {
            "gas": 10**12,
            "memory_bytes": 1 << 30,
            "output_bytes": 1 << 26,
            "wall_time_s": 60,
            "cpu": 2,
            "module_bytes": 1 << 20,
            "stdin_bytes": 1 << 20,
        },
        "capabilities": ["clock.real"],
        "lends": True,
        "load": {"running": 1, "waiting": 0, "capacity": 100},
        "protocols": ["/phase/job/1.0.0", "/phase/capabilities/1.0.0"],
        "addresses": ["/ip4/192.0.2.1/tcp/4001"],
        "issued_at": time_text(NOW),
        "expires_at": time_text(NOW + timedelta(minutes=30)),
        "unknown": {"to": ["everybody"]},
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def envelope(value: Json, key: Ed25519PrivateKey = NODE, kind: str = TYPE) -> str:
    payload = json.dumps(value, ensure_ascii=False).encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    signatures = [{"keyid": key_id(key), "sig": base64.b64encode(key.sign(pae)).decode()}]
    return json.dumps(
        {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": signatures}
    )


def tampered(value: Json) -> str:
    whole = json.loads(envelope(value))
    payload = base64.b64decode(whole["payload"]).replace(b'"lends": true', b'"lends": null')
    return json.dumps({**whole, "payload": base64.b64encode(payload).decode()})


def case(name: str, text: str, problem: str = "", *, after: timedelta = timedelta(0)) -> Json:
    """`problem` is a part of what is told, empty if the record is good."""
    return {"name": name, "envelope": text, "now": time_text(NOW + after), "problem": problem}


def records() -> list[Json]:
    minutes = timedelta(minutes=1)
    long = record(expires_at=time_text(NOW + timedelta(hours=24, seconds=1)))
    longest = record(expires_at=time_text(NOW + timedelta(hours=24)))
    return [
        case("as it should be", envelope(record())),
        case("expired within the skew of clocks", envelope(record()), after=34 * minutes),
        case("issued within the skew of clocks", envelope(record()), after=-4 * minutes),
        case("of the longest life", envelope(longest)),
        case("expired", envelope(record()), "it expired at", after=35 * minutes),
        case("of the future", envelope(record()), "it was issued in the future", after=-6 * minutes),
        case("to live for too long", envelope(long), "it is to live for too long"),
        case("signed by another", envelope(record(), OTHER), "not signed by"),
        case("of another", envelope(record(peer=peer_id(OTHER))), "not of"),
        case("changed after it was signed", tampered(record()), "not signed by"),
        case("a receipt's type", envelope(record(), kind="application/vnd.in-toto+json"), "payload of"),
        case("no JSON", "{", "not JSON"),
        case("no record", envelope({}), "format"),
        case("of another format", envelope(record(format="phase.capabilities/v9")), "format"),
        case("without limits", envelope(record(limits=None)), "limits"),
        case("with a name that is none", envelope(record(profiles=["plasm det"])), "profiles"),
        case("with too long a name", envelope(record(profiles=["p" * 65])), "profiles"),
        case("with a number as a name", envelope(record(wasi=[1])), "wasi"),
        case("with an unknown capability", envelope(record(capabilities=["files"])), "capabilities"),
        case("with no processor", envelope(record(cpu=0)), "cpu"),
        case("with an agent that hides", envelope(record(agent="a\x07")), "agent"),
        case("with an address that is none", envelope(record(addresses=["192.0.2.1"])), "addresses"),
    ]


MANIFEST: Json = {
    "format": "phase.manifest/v0",
    "profile": "plasm.det/v1",
    "module": hashlib.sha256(b"module").hexdigest(),
    "args": hashlib.sha256(b"").hexdigest(),
    "env": hashlib.sha256(b"").hexdigest(),
    "stdin": hashlib.sha256(b"").hexdigest(),
    "seed": "00" * 32,
    "limits": {"gas": 10**12, "memory_bytes": 1 << 30, "output_bytes": 1 << 26},
    "wall_time_s": 60,
    "cpu": 2,
    "capabilities": [],
    "retry": {"attempts": 3},
    "nonce": "00" * 16,
}


def need(
    lacks: str | None, record_changes: Json | None = None, sizes: Json | None = None, **changes: Any
) -> Json:
    return {
        "envelope": envelope(record(**(record_changes or {}))),
        "manifest": json.dumps({**MANIFEST, **changes}),
        "module_bytes": 1 << 20,
        "stdin_bytes": 1 << 20,
        **(sizes or {}),
        "lacks": lacks,
    }


def limits(**changes: int) -> Json:
    return {"limits": {**MANIFEST["limits"], **changes}}


def needs() -> list[Json]:
    both = ["clock.real", "random.real"]
    return [
        need(None),
        need(None, capabilities=["clock.real"]),
        need("it does not lend", {"lends": False}),
        need("profile plasm.det/v1", {"profiles": ["plasm.det/v2"]}),
        need("capability random.real", capabilities=both),
        need("capability clock.real", {"capabilities": []}, capabilities=both),
        need(f"gas {10**12 + 1}, of which it gives {10**12}", **limits(gas=10**12 + 1)),
        need(
            f"memory_bytes {(1 << 30) + 1}, of which it gives {1 << 30}", **limits(memory_bytes=(1 << 30) + 1)
        ),
        need(
            f"output_bytes {(1 << 26) + 1}, of which it gives {1 << 26}", **limits(output_bytes=(1 << 26) + 1)
        ),
        need("wall_time_s 61, of which it gives 60", wall_time_s=61),
        need("cpu 3, of which it gives 2", cpu=3),
        need(
            f"module_bytes {(1 << 20) + 1}, of which it gives {1 << 20}",
            sizes={"module_bytes": (1 << 20) + 1},
        ),
        need(
            f"stdin_bytes {(1 << 20) + 1}, of which it gives {1 << 20}", sizes={"stdin_bytes": (1 << 20) + 1}
        ),
    ]


def keys() -> list[Json]:
    found = []
    for name in ("wasi/preview1", "architecture/aarch64", f"peer/{peer_id(NODE)}"):
        for shard in (0, SHARDS - 1):
            digest = hashlib.sha256(f"phase/cap/v1/{name}/{shard}".encode()).hexdigest()
            found.append({"class": name, "shard": shard, "key_hex": "1220" + digest})
    return found


def generate() -> Json:
    return {
        "source": "docs/network.md",
        "peer": peer_id(NODE),
        "shards": SHARDS,
        "keys": keys(),
        "records": records(),
        "needs": needs(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(generate(), indent=1, ensure_ascii=False) + "\n")
