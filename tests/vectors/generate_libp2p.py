"""Compute libp2p.json from the specifications, with nothing of Plasm's own code and no library of libp2p.

`python tests/vectors/generate_libp2p.py` writes the file again.
What a specification publishes is written out here and held against what is computed.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

FILE = Path(__file__).with_name("libp2p.json")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


# multiformats/unsigned-varint


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def uvarints() -> Json:
    published = {1: "01", 127: "7f", 128: "8001", 255: "ff01", 300: "ac02", 16384: "808001"}
    assert all(uvarint(number).hex() == text for number, text in published.items())
    numbers = [0, *published, 2**14 - 1, 2**32, 2**63 - 1]
    return {
        "source": "multiformats/unsigned-varint",
        "valid": [{"number": str(number), "encoding_hex": uvarint(number).hex()} for number in numbers],
        "invalid_hex": ["", "80", "ffff", "8000", "818000", "ff" * 9 + "01", "80" * 9 + "01"],
    }


# libp2p specification, "Peer Ids and Keys"


def base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def raw_public(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def protobuf_key(public: bytes) -> bytes:
    return b"\x08\x01\x12\x20" + public


def multihash(public: bytes) -> bytes:
    return b"\x00\x24" + protobuf_key(public)


def peer_ids() -> Json:
    published = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    seed = bytes.fromhex("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d")
    publics = [
        raw_public(Ed25519PrivateKey.from_private_bytes(key)) for key in (seed, bytes(32), bytes(range(32)))
    ]
    assert protobuf_key(publics[0]).hex() == published
    example = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
    return {
        "source": "libp2p specification, peer-ids",
        "valid": [
            {
                "public_key_hex": public.hex(),
                "protobuf_hex": protobuf_key(public).hex(),
                "multihash_hex": multihash(public).hex(),
                "base58": base58(multihash(public)),
                "cid": "b" + base64.b32encode(b"\x01\x72" + multihash(public)).decode().lower().rstrip("="),
            }
            for public in publics
        ],
        "published_base58": example,
        "other_keys": [
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
        ],
    }


# multiformats/multiaddr

CODES = {
    "ip4": 4,
    "tcp": 6,
    "ip6": 41,
    "dns": 53,
    "dns4": 54,
    "dns6": 55,
    "udp": 273,
    "p2p-circuit": 290,
    "p2p": 421,
    "quic-v1": 461,
}


def multiaddr(text: str, peers: dict[str, bytes]) -> bytes:
    words = iter(text.split("/")[1:])
    out = b""
    for name in words:
        out += uvarint(CODES[name])
        if name in ("ip4", "ip6"):
            out += ipaddress.ip_address(next(words)).packed
        elif name in ("tcp", "udp"):
            out += struct.pack(">H", int(next(words)))
        elif name in ("dns", "dns4", "dns6", "p2p"):
            word = next(words)
            value = peers[word] if name == "p2p" else word.encode("ascii")
            out += uvarint(len(value)) + value
    return out


def multiaddrs() -> Json:
    public = raw_public(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    peer = base58(multihash(public))
    peers = {peer: multihash(public)}
    published = {
        "/ip4/127.0.0.1/udp/1234": "047f000001910204d2",
        "/ip4/127.0.0.1/tcp/4321": "047f0000010610e1",
    }
    assert all(multiaddr(text, peers).hex() == encoding for text, encoding in published.items())
    texts = [
        *published,
        f"/ip4/192.0.2.1/tcp/4001/p2p/{peer}",
        f"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{peer}",
        f"/ip6/2001:db8::1/tcp/65535/p2p/{peer}",
        f"/dns/node.example/tcp/0/p2p/{peer}",
        f"/dns4/node.example/tcp/4001/p2p/{peer}",
        f"/dns6/xn--bcher-kva.example/tcp/4001/p2p/{peer}",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{peer}/p2p-circuit/p2p/{peer}",
        f"/p2p/{peer}",
    ]
    return {
        "source": "multiformats/multiaddr",
        "valid": [{"text": text, "encoding_hex": multiaddr(text, peers).hex()} for text in texts],
        "not_canonical": [
            {"text": "/ip6/2001:DB8:0:0:0:0:0:1/tcp/04001", "canonical": "/ip6/2001:db8::1/tcp/4001"},
            {"text": f"/ip4/192.0.2.1/tcp/1/ipfs/{peer}/", "canonical": f"/ip4/192.0.2.1/tcp/1/p2p/{peer}"},
        ],
        "invalid": [
            "",
            "/",
            "ip4/127.0.0.1",
            "/ip4",
            "/ip4/256.0.0.1",
            "/ip4/::1",
            "/ip6/127.0.0.1",
            "/ip6/fe80::1%eth0",
            "/ip4/127.0.0.1/tcp",
            "/ip4/127.0.0.1/tcp/65536",
            "/ip4/127.0.0.1/tcp/-1",
            "/ip4/127.0.0.1/tcp/0x10",
            "/ip4/127.0.0.1//tcp/1",
            "/ip4/127.0.0.1/tcp/1\n",
            "/dns4//tcp/1",
            "/dns4/a b/tcp/1",
            "/unknown/1",
            "/p2p/12D3KooW",
            "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ],
        "invalid_hex": [
            "",
            "04",
            "047f0000",
            "047f000001060f",
            "3605612e",
            "36ff7f61",
            "3601ff",
            "ffff7f",
            "8004",
            "a503020000",
        ],
    }


# RFC 5869, RFC 7748, RFC 8439


def hkdf(salt: bytes, secret: bytes, count: int) -> list[bytes]:
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    blocks = [b""]
    for number in range(1, count + 1):
        blocks.append(hmac.digest(key, blocks[-1] + bytes([number]), "sha256"))
    return blocks[1:]


def hkdfs() -> Json:
    published = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert b"".join(hkdf(b"", b"\x0b" * 22, 2)).hex().startswith(published)
    return {
        "source": "RFC 5869, test case 3 (first 42 bytes), and the Noise specification's HKDF with two outputs",
        "valid": [
            {
                "salt_hex": salt.hex(),
                "secret_hex": secret.hex(),
                "output_hex": b"".join(hkdf(salt, secret, 2)).hex(),
            }
            for salt, secret in ((b"", b"\x0b" * 22), (bytes(range(32)), b""), (bytes(32), bytes(range(32))))
        ],
    }


def agree(scalar: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))


def x25519s() -> Json:
    published = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ]
    for scalar, point, output in published:
        assert agree(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == output
    return {
        "source": "RFC 7748, sections 5.2 and 6.1",
        "valid": [
            {"scalar_hex": scalar, "point_hex": point, "output_hex": output}
            for scalar, point, output in published
        ],
        "low_order_hex": ["00" * 32, "01" + "00" * 31],
    }


def chachapolys() -> Json:
    key = bytes.fromhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
    associated = bytes.fromhex("f33388860000000000004e91")
    nonce = bytes(4) + bytes(range(1, 9))
    ciphertext = bytes.fromhex(
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0"
        "bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
        "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e9"
        "9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
        "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130"
        "305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38"
    )
    plaintext = ChaCha20Poly1305(key).decrypt(nonce, ciphertext, associated)
    assert plaintext.startswith(b"Internet-Drafts are draft documents valid for a maximum of six months")
    return {
        "source": "RFC 8439, appendix A.5; as Noise writes it, its nonce is the counter",
        "valid": [
            {
                "key_hex": key.hex(),
                "counter": str(int.from_bytes(nonce[4:], "little")),
                "associated_hex": associated.hex(),
                "plaintext_hex": plaintext.hex(),
                "ciphertext_hex": ciphertext.hex(),
            }
        ],
    }


# The Noise Protocol Framework, revision 34


class Cipher:
    def __init__(self, key: bytes) -> None:
        self.aead = ChaCha20Poly1305(key)
        self.counter = 0

    def seal(self, associated: bytes, plaintext: bytes) -> bytes:
        nonce = bytes(4) + struct.pack("<Q", self.counter)
        self.counter += 1
        return self.aead.encrypt(nonce, plaintext, associated)


def noise_xx(keys: dict[str, bytes], prologue: bytes, payloads: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return what goes over the wire, and the handshake hash. Both sides' secrets are at hand, so one state will do."""
    chaining = digest = b"Noise_XX_25519_ChaChaPoly_SHA256"
    digest = hashlib.sha256(digest + prologue).digest()
    public = {name: raw_public(X25519PrivateKey.from_private_bytes(key)) for name, key in keys.items()}
    cipher: Cipher | None = None
    messages = []
    steps: list[list[str | tuple[str, str]]] = [
        ["init_ephemeral"],
        [
            "resp_ephemeral",
            ("init_ephemeral", "resp_ephemeral"),
            "resp_static",
            ("init_ephemeral", "resp_static"),
        ],
        ["init_static", ("init_static", "resp_ephemeral")],
    ]
    for step, payload in zip(steps, payloads, strict=False):
        message = b""
        for token in [*step, None]:
            if isinstance(token, tuple):
                chaining, key = hkdf(chaining, agree(keys[token[0]], public[token[1]]), 2)
                cipher = Cipher(key)
                continue
            part = payload if token is None else public[token]
            if cipher and (token is None or token.endswith("static")):
                part = cipher.seal(digest, part)
            digest = hashlib.sha256(digest + part).digest()
            message += part
        messages.append(message)
    transport = [Cipher(key) for key in hkdf(chaining, b"", 2)]
    # The responder speaks first after the third message.
    messages += [
        transport[(number + 1) % 2].seal(b"", payload) for number, payload in enumerate(payloads[3:])
    ]
    return messages, digest


def noise() -> Json:
    keys = {
        "init_static": "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
        "init_ephemeral": "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        "resp_static": "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
        "resp_ephemeral": "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
    }
    prologue = b"John Galt"
    names = [
        "Ludwig von Mises",
        "Murray Rothbard",
        "F. A. Hayek",
        "Carl Menger",
        "Jean-Baptiste Say",
        "Eugen Böhm von Bawerk",
    ]
    payloads = [name.encode("latin-1") for name in names]
    secrets = {name: bytes.fromhex(key) for name, key in keys.items()}
    messages, digest = noise_xx(secrets, prologue, payloads)
    assert digest.hex() == "c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e"
    return {
        "source": "computed for the keys and payloads of cacophony's vectors (public domain), which come to the same",
        "protocol": "Noise_XX_25519_ChaChaPoly_SHA256",
        "prologue_hex": prologue.hex(),
        **{f"{name}_hex": key for name, key in keys.items()},
        "handshake_hash": digest.hex(),
        "messages": [
            {"payload_hex": payload.hex(), "ciphertext_hex": message.hex()}
            for payload, message in zip(payloads, messages, strict=True)
        ],
    }


# libp2p specification, noise-libp2p


def handshake_payload() -> Json:
    identity = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    static = raw_public(X25519PrivateKey.from_private_bytes(bytes(range(32, 64))))
    signature = identity.sign(b"noise-libp2p-static-key:" + static)
    key = protobuf_key(raw_public(identity))
    payload = b"\x0a" + uvarint(len(key)) + key + b"\x12" + uvarint(len(signature)) + signature
    return {
        "source": "libp2p specification, noise",
        "seed_hex": bytes(range(32)).hex(),
        "static_public_hex": static.hex(),
        "payload_hex": payload.hex(),
        "peer_id": base58(multihash(raw_public(identity))),
    }


# libp2p specification, circuit-v2


def circuit() -> Json:
    peer = multihash(raw_public(Ed25519PrivateKey.from_private_bytes(bytes(range(32)))))
    inner = b"\x0a" + uvarint(len(peer)) + peer
    connect = b"\x08\x01\x12" + uvarint(len(inner)) + inner
    limit = b"\x08" + uvarint(3600) + b"\x10" + uvarint(1 << 28)
    granted = b"\x08\x02\x22" + uvarint(len(limit)) + limit + b"\x28" + uvarint(100)
    return {
        "source": "libp2p specification, relay/circuit-v2",
        "peer_id": base58(peer),
        "connect_hex": connect.hex(),
        "granted_hex": granted.hex(),
        "refused": [
            {"status": status, "message_hex": (b"\x08\x02\x28" + uvarint(status)).hex()}
            for status in (200, 201, 202, 203, 204, 400, 401)
        ],
        "no_answer_hex": ["", "0802", "2864", "08012864", connect.hex(), "0802286480", "08022803ff"],
    }


def render() -> str:
    vectors = {
        "uvarint": uvarints(),
        "peer_id": peer_ids(),
        "multiaddr": multiaddrs(),
        "hkdf": hkdfs(),
        "x25519": x25519s(),
        "chachapoly": chachapolys(),
        "noise_xx": noise(),
        "handshake_payload": handshake_payload(),
        "circuit": circuit(),
    }
    return json.dumps(vectors, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
