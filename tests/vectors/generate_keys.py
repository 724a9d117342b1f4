"""Compute keys.json from RFC 8032 and docs/receipts.md, with nothing of Plasm's own code and no library.

`python tests/vectors/generate_keys.py` writes the file again. The kinds of signatures follow Chalkias, Garillot
and Nikolaenko, "Taming the many EdDSAs" (SSR 2020), section 5, with keys and messages of our own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Point = tuple[int, int]

FILE = Path(__file__).with_name("keys.json")
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY: Point = (0, 1)
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


# RFC 8032, section 5.1


def x_of(y: int) -> int | None:
    """Return the even x of a y-coordinate, None if no point of the curve has it."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if (root * root - square) % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    if (root * root - square) % P:
        return None
    return root if root % 2 == 0 else P - root


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(factor: int, point: Point) -> Point:
    result = IDENTITY
    while factor:
        if factor & 1:
            result = add(result, point)
        point, factor = add(point, point), factor >> 1
    return result


def raw(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def encoded(point: Point) -> bytes:
    return raw(point[1], point[0] % 2)


def base_point() -> Point:
    y = 4 * pow(5, -1, P) % P
    x = x_of(y)
    assert x is not None
    return x, y


B = base_point()


def torsion_point() -> Point:
    """Return a point of order 8: what is left of a point of the curve when L is taken out of it."""
    for y in range(2, 100):
        x = x_of(y)
        if x is not None and times(4, point := times(L, (x, y))) != IDENTITY:
            return point
    raise AssertionError("none")


T8 = torsion_point()
TORSION = [times(number, T8) for number in range(8)]
assert times(8, T8) == IDENTITY
assert len(set(TORSION)) == 8


def secret(seed: bytes) -> tuple[int, bytes]:
    hashed = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(hashed[:32], "little")
    return (scalar & ((1 << 254) - 8)) | (1 << 254), hashed[32:]


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


SCALAR, PREFIX = secret(bytes(range(32)))
HONEST = encoded(times(SCALAR, B))
MIXED = encoded(add(times(SCALAR, B), T8))


# libp2p specification, "Peer Ids and Keys"


def multihash(key: bytes) -> bytes:
    return b"\x00\x24\x08\x01\x12\x20" + key


def peer_id(key: bytes) -> str:
    number, text = int.from_bytes(multihash(key), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" + text


# the vectors


def key_vector(name: str, key: bytes, *, accepted: bool) -> Json:
    return {
        "name": name,
        "public_key_hex": key.hex(),
        "multihash_hex": multihash(key).hex(),
        "peer_id": peer_id(key),
        "accepted": accepted,
    }


def keys() -> list[Json]:
    vectors = [
        key_vector("an honest key", HONEST, accepted=True),
        key_vector("the base point", encoded(B), accepted=True),
        key_vector("of mixed order: an honest key and a point of order 8", MIXED, accepted=True),
    ]
    for y in sorted({point[1] for point in TORSION}):
        order = min(number for number in (1, 2, 4, 8) if times(number, (x_of(y) or 0, y)) == IDENTITY)
        for sign in (0, 1):
            name = f"of order {order}, y = {y:#x}, sign {sign}"
            vectors.append(key_vector(name, raw(y, sign), accepted=False))
    for excess in range(19):
        for sign in (0, 1):
            name = f"y = p + {excess}, sign {sign}"
            vectors.append(key_vector(name, raw(P + excess, sign), accepted=False))
    return vectors


def signature(name: str, key: bytes, message: bytes, signed: bytes, *, valid: bool) -> Json:
    return {
        "name": name,
        "public_key_hex": key.hex(),
        "message_hex": message.hex(),
        "signature_hex": signed.hex(),
        "valid": valid,
    }


def scalar(value: int) -> bytes:
    return (value % L).to_bytes(32, "little")


def signed(key: bytes, message: bytes, torsion: Point = IDENTITY) -> tuple[bytes, int]:
    """Return R and S of a signature whose R has a part of small order."""
    nonce = int.from_bytes(hashlib.sha512(PREFIX + message).digest(), "little") % L
    r = encoded(add(times(nonce, B), torsion))
    return r, (nonce + challenge(r, key, message) * SCALAR) % L


def searched(key: bytes, r: bytes, *, vanishes: bool = True) -> tuple[bytes, int]:
    """Return a message whose challenge is a multiple of 8, or is not, and the challenge."""
    for number in range(1000):
        message = b"message %d" % number
        hashed = challenge(r, key, message)
        if (hashed % 8 == 0) is vanishes:
            return message, hashed
    raise AssertionError("none")


def honest() -> list[Json]:
    found = []
    for name, message in (("an honest signature", b"plasm"), ("of an empty message", b"")):
        r, s = signed(HONEST, message)
        found.append(signature(name, HONEST, message, r + scalar(s), valid=True))
    return found


def malleable() -> list[Json]:
    r, s = signed(HONEST, b"plasm")
    good = r + scalar(s)
    vectors = [
        signature(
            f"S + {factor} L", HONEST, b"plasm", r + (s + factor * L).to_bytes(32, "little"), valid=False
        )
        for factor in (1, 2, 8, 14)
    ]
    vectors += [
        signature("S = L", HONEST, b"plasm", r + L.to_bytes(32, "little"), valid=False),
        signature("the highest bit of S is set", HONEST, b"plasm", good[:63] + b"\x80", valid=False),
        signature(
            "R with the other sign", HONEST, b"plasm", r[:31] + bytes([r[31] ^ 0x80]) + good[32:], valid=False
        ),
        signature("cut short", HONEST, b"plasm", good[:63], valid=False),
        signature("continued", HONEST, b"plasm", good + b"\0", valid=False),
        signature("empty", HONEST, b"plasm", b"", valid=False),
        signature("another message", HONEST, b"plasn", good, valid=False),
        signature("zeros", HONEST, b"plasm", bytes(64), valid=False),
    ]
    return vectors


def small_order() -> list[Json]:
    """Signatures that hold by the equation, under a key or with an R that proves nothing."""
    vectors = []
    for number, point in enumerate(TORSION):
        key, identity = encoded(point), encoded(IDENTITY)
        message, _ = searched(key, identity)
        name = f"forged under the key of small order {number}, R = 0, S = 0"
        vectors.append(signature(name, key, message, identity + bytes(32), valid=False))
    for name, r in (
        ("the identity", raw(1, 0)),
        ("p + 1", raw(P + 1, 0)),
        ("the identity, sign 1", raw(1, 1)),
    ):
        key = raw(P + 1, 0)
        text = f"forged under the key p + 1, R = {name}, S = 0"
        vectors.append(signature(text, key, b"plasm", r + bytes(32), valid=False))
    message, hashed = searched(MIXED, encoded(IDENTITY))
    good = encoded(IDENTITY) + scalar(hashed * SCALAR)
    vectors.append(signature("key of mixed order, R = 0", MIXED, message, good, valid=False))
    message, hashed = searched(MIXED, raw(P + 1, 0))
    text = "key of mixed order, R = p + 1, hashed as it stands"
    vectors.append(signature(text, MIXED, message, raw(P + 1, 0) + scalar(hashed * SCALAR), valid=False))
    message, hashed = searched(MIXED, encoded(IDENTITY))
    text = "key of mixed order, R = p + 1, hashed in its canonical form"
    vectors.append(signature(text, MIXED, message, raw(P + 1, 0) + scalar(hashed * SCALAR), valid=False))
    r = encoded(T8)
    hashed = challenge(r, HONEST, b"plasm")
    text = "honest key, R of order 8: holds with the cofactor only"
    vectors.append(signature(text, HONEST, b"plasm", r + scalar(hashed * SCALAR), valid=False))
    return vectors


def mixed_order() -> list[Json]:
    """Signatures under a key, or with an R, of mixed order: valid if they hold without the cofactor."""
    vectors = []
    for number in range(4000):
        message = b"mixed %d" % number
        want = times(number % 8, T8)
        r, s = signed(MIXED, message, want)
        hashed = challenge(r, MIXED, message)
        if add(want, times(hashed % 8, T8)) == IDENTITY and want != IDENTITY:
            text = "key and R of mixed order, holds without the cofactor"
            vectors.append(signature(text, MIXED, message, r + scalar(s), valid=True))
            break
    for vanishes in (True, False):
        for number in range(1000):
            message = b"plain %d" % number
            r, s = signed(MIXED, message)
            if (challenge(r, MIXED, message) % 8 == 0) is vanishes:
                text = f"key of mixed order, holds {'without' if vanishes else 'only with'} the cofactor"
                vectors.append(signature(text, MIXED, message, r + scalar(s), valid=vanishes))
                break
    r, s = signed(HONEST, b"plasm", T8)
    text = "honest key, R of mixed order: holds with the cofactor only"
    vectors.append(signature(text, HONEST, b"plasm", r + scalar(s), valid=False))
    return vectors


def no_points() -> list[Json]:
    off = next(y for y in range(19, 100) if x_of(y) is None)
    r, s = signed(HONEST, b"plasm")
    return [
        signature("a key that is no point", raw(off, 0), b"plasm", r + scalar(s), valid=False),
        signature("an R that is no point", HONEST, b"plasm", raw(off, 0) + scalar(s), valid=False),
    ]


def main() -> None:
    """Write the file."""
    signatures = [*honest(), *malleable(), *small_order(), *mixed_order(), *no_points()]
    names = [item["name"] for item in signatures]
    assert len(set(names)) == len(names)
    vectors = {"keys": keys(), "signatures": signatures}
    FILE.write_text(json.dumps(vectors, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
