"""Inputs for readers: honest records, damaged in the ways in which readers are known to differ."""

from __future__ import annotations

import base64
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from plasm_core.records import PAYLOAD_TYPE, Handle, Manifest, PeerId, Signature, pae
from plasm_core.records.capabilities import CAPABILITIES_TYPE, CapabilityRecord
from plasm_core.records.envelope import Envelope
from plasm_core.records.files import DEFAULT_FILE_LIMITS, JobFiles, Product
from plasm_core.records.manifest import GAS_SCHEDULES, profile_for
from plasm_core.signing import sign_record
from plasm_core.testing.claims import OTHER_SIGNER, SIGNER, SeedSigner, manifest, receipt
from tests.fuzz.reader_texts import BETWEEN, NAMES, NUMBERS, OTHERS, STRINGS, TIMES
from tests.fuzz.readers import NOW, Input

_L = 2**252 + 27742317777372353535851937790883648493
_VECTORS = Path(__file__).resolve().parents[1] / "vectors"
_HOLE = "@@hole@@"


_STATUS = {
    "state": "RUNNING",
    "attempt": 1,
    "position": 1,
    "stdout_bytes": 5,
    "stderr_bytes": 0,
    "accepted_at": "2026-01-01T00:00:00Z",
    "started_at": "2026-01-01T00:00:00.5Z",
    "finished_at": "2026-01-01T00:00:01Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "outcome": "exited",
    "node": str(OTHER_SIGNER.peer_id),
}
_JOB = "ab" * 32
_FILES = JobFiles(tree=_JOB, read_only=("in", "other"), outputs=("log", "out/é"), limits=DEFAULT_FILE_LIMITS)
_PRODUCTS = (
    Product(path="log", kind="file", sha256=_JOB),
    Product(path="out/é", kind="tree", sha256="cd" * 32),
)
_UPLOADS = {"module": 1, "args": 0, "env": 0, "stdin": 3}
_MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "hello", "peer": str(SIGNER.peer_id), "agent": "plasm/1"},
    {
        "type": "hello",
        "peer": str(SIGNER.peer_id),
        "agent": "plasm/1",
        "keep_s": 5,
        "features": ["files", "more"],
    },
    {
        "type": "offered",
        "job_id": _JOB,
        "expires_s": 3,
        "challenge": _JOB,
        "received": _UPLOADS,
        "credit": _UPLOADS,
    },
    {
        "type": "offered",
        "job_id": _JOB,
        "expires_s": 3,
        "challenge": _JOB,
        "received": {**_UPLOADS, "files": 7},
        "credit": {**_UPLOADS, "files": 9},
    },
    {"type": "possessed", "known": True},
    {"type": "possessed", "known": False, "channel": "files"},
    {"type": "contents", "job_id": _JOB, "kind": "tree", "size": 70_000},
    {"type": "progress", "phase": "checking"},
    *({"type": name, "job_id": _JOB, "status": _STATUS} for name in ("accepted", "attached", "status")),
    {"type": "state", "status": _STATUS},
    {"type": "result", "status": _STATUS, "envelope": "{}"},
    {"type": "capabilities", "envelope": "{}"},
    {"type": "refused", "reason": "busy", "message": "busy", "hint": "wait", "retry_after_s": 3},
    {"type": "credit", "channel": "stdin", "upto": 5, "attempt": 1},
    {"type": "heartbeat"},
    {"type": "error", "code": "protocol", "message": "no"},
)


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, item in items:
        yield (*before, name)
        yield from _paths(item, (*before, name))


def _nested(depth: int) -> list[str]:
    return [
        "[" * depth + "]" * depth,
        '{"a":' * depth + "1" + "}" * depth,
        '[{"a":' * (depth // 2) + "0" + "}]" * (depth // 2),
    ]


class Inputs:
    """Makes inputs without end, the same ones for a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._keys = json.loads((_VECTORS / "keys.json").read_bytes())
        self._statements = [
            case["statement"] for case in json.loads((_VECTORS / "consistency.json").read_bytes())["cases"]
        ]
        trees = json.loads((_VECTORS / "files.json").read_bytes())
        sent = json.loads((_VECTORS / "file_transfer.json").read_bytes())
        self._listings = [
            bytes.fromhex(case["listing_hex"]) for case in (*trees["listings"], *trees["refused_listings"])
        ]
        self._good_packs = [bytes.fromhex(case["pack_hex"]) for case in sent["packs"]]
        self._packs = [bytes.fromhex(case["pack_hex"]) for case in (*sent["packs"], *sent["refused_packs"])]
        vectors = json.loads((_VECTORS / "capabilities.json").read_bytes())
        self._record = json.loads(base64.b64decode(json.loads(vectors["records"][0]["envelope"])["payload"]))
        self._record |= {
            "peer": str(SIGNER.peer_id),
            "issued_at": NOW.isoformat().replace("+00:00", "Z"),
            "expires_at": (NOW + timedelta(minutes=30)).isoformat().replace("+00:00", "Z"),
        }
        CapabilityRecord.from_json(json.dumps(self._record).encode())  # else nothing is tried but refusals

    def __iter__(self) -> Iterator[Input]:
        makers: list[tuple[str, Callable[[], bytes], int]] = [
            ("receipt", lambda: self._damaged(self._statement()), 6),
            ("verified", self._verified, 5),
            ("envelope", lambda: self._damaged(self._envelope(b"{}")), 4),
            ("manifest", lambda: self._damaged(json.loads(self._manifest().to_json())), 4),
            ("capabilities", self._capabilities, 4),
            ("message", lambda: self._damaged(self.random.choice(_MESSAGES)), 6),
            ("handle", self._handle, 2),
            ("peer", self._peer, 2),
            ("multihash", self._multihash, 1),
            ("listing", self._listing, 3),
            ("pack", self._pack, 3),
        ]
        weights = [weight for *_, weight in makers]
        while True:
            kind, make, _ = self.random.choices(makers, weights)[0]
            yield kind, make()

    def _some(self) -> tuple[str, ...]:
        return self.random.choice([(), ("clock.real",), ("clock.real", "random.real")])

    def _statement(self) -> Any:
        if self.random.random() < 0.5:
            return json.loads(self.random.choice(self._statements))
        asked = self._manifest()
        left = _PRODUCTS if asked.files is not None else ()
        made = attrs.evolve(receipt(of=asked), files=left)
        result = attrs.evolve(made.result, gas_schedule=GAS_SCHEDULES[asked.profile])
        return json.loads(attrs.evolve(made, result=result).to_statement())

    def _manifest(self) -> Manifest:
        files = self.random.choice([None, None, _FILES])
        entry = self.random.choice([None, None, None, "main"])
        least = profile_for(files, entry)
        return attrs.evolve(manifest(capabilities=self._some()), files=files, entry=entry, profile=least)

    # -- trees

    def _listing(self) -> bytes:
        data = self.random.choice(self._listings)
        return data if self.random.random() < 0.1 else self._bytes(data)

    def _pack(self) -> bytes:
        data = self.random.choice(self._packs)
        way = self.random.random()
        if way < 0.6:
            return self.random.choice(self._good_packs) if way < 0.15 else self._bytes(data)
        listing = self._listing()
        return (
            struct.pack("<I", len(listing))
            + listing
            + self.random.randbytes(self.random.choice([0, 0, 4, 9]))
        )

    # -- JSON

    def _value(self) -> str:
        if self.random.random() < 0.02:
            return self.random.choice(
                _nested(self.random.choice([100, 240, 250, 252, 253, 254, 255, 256, 257, 900]))
            )
        return self.random.choice(self.random.choice([NUMBERS, STRINGS, STRINGS, TIMES, OTHERS]))

    def _damaged(self, value: Any) -> bytes:
        text = self._text(value)
        for _ in range(self.random.choice([0, 0, 0, 1])):
            text = self._spoiled(text)
        data = text.encode("utf-8", "surrogatepass")
        if self.random.random() < 0.06:
            data = self._bytes(data)
        return data

    def _text(self, value: Any) -> str:
        """Return JSON with one thing changed, or as it was."""
        whole = json.loads(json.dumps(value))
        path = self.random.choice(list(_paths(whole)))
        target = whole
        for name in path[:-1]:
            target = target[name]
        last, way = path[-1], self.random.random()
        if way < 0.5:
            target[last] = _HOLE
            return self._dumped(whole).replace(f'"{_HOLE}"', self._value())
        if way < 0.62 and isinstance(target, dict):
            return self._twice(whole, str(last))
        if way < 0.7:
            del target[last]
        elif way < 0.78 and isinstance(target, dict):
            target[self.random.choice(NAMES)] = self.random.choice([1, None, {}, [], "x", {"": 1}, [[[]]]])
        elif way < 0.83 and isinstance(target, dict):
            target[self.random.choice([str(last).upper(), f"{last} ", f"{last}\0", str(last)[:-1]])] = (
                target.pop(last)
            )
        elif way < 0.88 and isinstance(target, list):
            target.extend(target * self.random.choice([1, 2, 40, 70, 1100]))
        elif way < 0.92:
            inner = target[last]
            target[last] = self.random.choice(
                [[inner], {"a": inner}, {"0": inner}, str(inner), [inner, inner]]
            )
        return self._dumped(whole)

    def _dumped(self, value: Any) -> str:
        separators = self.random.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")])
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5, separators=separators)
        if self.random.random() < 0.05:  # escape a letter that needs no escape
            text = text.replace("a", "\\u0061", self.random.choice([1, 3]))
        return text

    def _twice(self, value: Any, name: str) -> str:
        """Return JSON in which one object has a name twice, perhaps escaped."""
        text, quoted = self._dumped(value), json.dumps(name)
        at = text.find(quoted)
        if at < 0:
            return text
        escaped = '"' + "".join(f"\\u{ord(character):04x}" for character in name) + '"'
        return f"{text[:at]}{self.random.choice([quoted, escaped])}:{self._value() or '0'},{text[at:]}"

    def _spoiled(self, text: str) -> str:
        at = self.random.randrange(len(text) + 1)
        return self.random.choice(
            [
                text[:at] + self.random.choice(BETWEEN) + text[at:],
                text[:at] + text[at + 1 :],
                text[:at],
                "\ufeff" + text,
                text + self.random.choice(["\n", " ", "x", "\0", text, "{}", ","]),
                self.random.choice(BETWEEN) + text,
                text[:-1] + ',"z":' + self._value() + "}",
                text[:-1]
                + ',"z":'
                + self.random.choice(_nested(self.random.choice([253, 254, 255, 256])))
                + "}",
                "[" + text + "]",
                self._value(),
            ]
        )

    def _bytes(self, data: bytes) -> bytes:
        at = self.random.randrange(len(data) + 1)
        piece = self.random.choice(
            [
                b"\xff",
                b"\xc0\x80",
                b"\xed\xa0\x80",
                b"\xf4\x90\x80\x80",
                b"\xe2\x82",
                b"\x80",
                b"\0",
                b"\xef\xbf\xbf",
            ]
        )
        return self.random.choice(
            [data[:at] + piece + data[at:], data[:at] + bytes([self.random.randrange(256)]) + data[at + 1 :]]
        )

    # -- envelopes and signatures

    def _envelope(self, payload: bytes, kind: str = PAYLOAD_TYPE, signer: SeedSigner = SIGNER) -> Any:
        signature = Signature(key_id="", sig=self._signature(payload, kind, signer))
        value = json.loads(Envelope(payload=payload, payload_type=kind, signatures=(signature,)).to_json())
        if self.random.random() < 0.15:
            self._recode(value)
        if self.random.random() < 0.1:
            other = {"keyid": "x", "sig": base64.b64encode(OTHER_SIGNER.sign(pae(kind, payload))).decode()}
            value["signatures"].insert(self.random.randrange(2), other)
        return value

    def _signature(self, payload: bytes, kind: str, signer: SeedSigner) -> bytes:
        good = signer.sign(pae(kind, payload))
        if self.random.random() > 0.15:
            return good
        scalar = int.from_bytes(good[32:], "little")
        return self.random.choice(
            [
                good[:32] + (scalar + self.random.randint(1, 14) * _L).to_bytes(32, "little"),
                good[:63],
                good + b"\0",
                b"",
                b"\1" + bytes(63),
                bytes.fromhex(self.random.choice(self._keys["keys"])["public_key_hex"]) + good[32:],
                bytes.fromhex(self.random.choice(self._keys["signatures"])["signature_hex"]),
                good[:32] + bytes(32),
                OTHER_SIGNER.sign(pae(kind, payload)),
            ]
        )

    def _recode(self, value: Any) -> None:
        """Change how a field is encoded in base64, though not always what it decodes to."""
        place, name = self.random.choice([(value, "payload"), (value["signatures"][0], "sig")])
        text = place[name]
        at = self.random.randrange(len(text) + 1)
        spare = text.rstrip("=")
        place[name] = self.random.choice(
            [
                spare,
                text + "=",
                text.replace("+", "-").replace("/", "_"),
                text[:at] + "\n" + text[at:],
                text[:at] + self.random.choice(" =-_+/.é\0") + text[at:],
                text.replace("=", "\u003d"),
                spare[:-1] + chr(ord(spare[-1]) + 1) + text[len(spare) :] if spare else "=",
                text + "\n",
                "",
                "====",
                "A",
                "AA==",
                "AB==",
            ]
        )

    def _verified(self) -> bytes:
        if self.random.random() < 0.4:
            payload = self._damaged(self._statement())
        else:
            payload = json.dumps(self._statement()).encode()
        # Most vectors name the same node, whose seed is the signer's.
        kind = (
            PAYLOAD_TYPE if self.random.random() < 0.95 else self.random.choice(["", "x", CAPABILITIES_TYPE])
        )
        value = self._envelope(payload, kind, SIGNER if self.random.random() < 0.93 else OTHER_SIGNER)
        return self._damaged(value) if self.random.random() < 0.25 else json.dumps(value).encode()

    def _capabilities(self) -> bytes:
        way = self.random.random()
        if way < 0.15:
            record = CapabilityRecord.from_json(json.dumps(self._record).encode())
            return self._damaged(json.loads(sign_record(record, SIGNER).to_json()))
        payload = self._damaged(self._record)
        value = self._envelope(payload, CAPABILITIES_TYPE, SIGNER if way < 0.96 else OTHER_SIGNER)
        return json.dumps(value).encode()

    # -- handles and PeerIds

    def _key(self) -> bytes:
        if self.random.random() < 0.4:
            return bytes.fromhex(self.random.choice(self._keys["keys"])["public_key_hex"])
        return self.random.randbytes(32)

    def _handle(self) -> bytes:
        handle = Handle(
            job_id=self.random.randbytes(32).hex(), secret=self.random.randbytes(32), peer=PeerId(self._key())
        )
        return self._changed(str(handle), "phase0-")

    def _peer(self) -> bytes:
        return self._changed(str(PeerId(self._key())), "12D3KooW")

    def _changed(self, text: str, prefix: str) -> bytes:
        at = self.random.randrange(len(text) + 1)
        letter = self.random.choice("AZaz09-_+/=0OIl1 \n\t\0é")
        changed = self.random.choice(
            [
                *[text] * 6,
                text[:at] + letter + text[at + 1 :],
                text[:at] + letter + text[at:],
                text[:at],
                text + self.random.choice(["\n", " ", "=", "==", "\r\n", "\0", "A", "\u200b"]),
                self.random.choice([" ", "\ufeff", "\n", "/p2p/"]) + text,
                text.swapcase(),
                text.replace(prefix, self.random.choice(["", prefix.upper(), "phase1-", "Qm", "1" + prefix])),
                text + "A" * self.random.choice([4, 200, 300]),
                "1" * 52,
                "bafzaajaiaejca" + "a" * 51,
                "",
            ]
        )
        if re.search(r"\Z", changed) and self.random.random() < 0.02:
            return changed.encode() + b"\xff"
        return changed.encode()

    def _multihash(self) -> bytes:
        data = PeerId(self._key()).multihash
        at = self.random.randrange(len(data))
        return self.random.choice(
            [
                *[data] * 3,
                data[:at],
                data + b"\0",
                data[:at] + self.random.randbytes(1) + data[at + 1 :],
                b"\x80\x00" + data[1:],  # a varint that is longer than it need be
                data[:1] + b"\xa4\x00" + data[2:],
                b"\x12\x20" + data[6:],
                data[:2] + b"\x12\x20" + data[6:] + b"\x08\x01",  # the fields in the other order
                b"\x00\x26" + data[2:] + b"\x18\x01",  # a field that nobody knows
            ]
        )
