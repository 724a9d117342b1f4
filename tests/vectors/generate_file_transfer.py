"""Writes tests/vectors/file_transfer.json: the messages, frames and packs of jobs with files.

    python tests/vectors/generate_file_transfer.py

As in `protocol.json`, bytes of messages are what this implementation sends; those of packs are the only ones.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plasm_core.protocol import messages as m
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import control_frame, data_frame
from plasm_core.records import sha256
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, MAGIC, TreeEntry, encode
from tests.vectors.generate_protocol import JOB, PEER, TOKEN

HERE = Path(__file__).parent


def _messages() -> Iterator[tuple[str, m.Message]]:
    sizes = m.Uploads(module=300, args=13, env=0, stdin=0, files=104_857_600)
    some = m.Uploads(module=300, args=0, env=0, stdin=0, files=65_536)
    credit = m.Outputs(stdout=1_048_576, stderr=65_536)
    yield "node", m.Hello(peer=PEER, agent="plasm/0.3.0", keep_s=5, features=("files",))
    yield "client", m.Submit(manifest="{}", token=TOKEN, sizes=sizes, credit=credit)
    yield "node", m.Offered(job_id=JOB, expires_s=60, challenge="00" * 32, received=some, credit=some)
    yield "client", m.Possession(proof=sha256(bytes(32) + _pack(_tree())), channel="files")
    yield "node", m.Possessed(known=True, channel="files")
    yield "node", m.Credit(channel="files", upto=2_097_152)
    yield "node", m.Hello(peer=PEER, agent="plasm/0.3.0", keep_s=5, features=("files", "sealed_memory"))
    yield "client", m.SealedMemory(channel="files")
    yield (
        "client",
        m.Fetch(job_id=JOB, token=TOKEN, path="out/é.txt", offset=65_536, length=2**53 - 1, credit=1_114_112),
    )
    yield "client", m.Fetch(job_id=JOB, token=TOKEN, path=".", offset=0, length=0, credit=0, keep=True)
    yield "node", m.OutputContents(job_id=JOB, kind="file", size=70_000)
    yield "node", m.OutputContents(job_id=JOB, kind="tree", size=18)
    yield "node", m.OutputContents(job_id=JOB, kind="none", size=0)
    yield "client", m.Credit(channel="contents", upto=2_097_152)
    yield "node", m.Refused(reason="files_unsupported", message="this node takes no jobs with files")
    yield "node", m.Refused(reason="not_ended", message="the job has not ended")


def _data() -> Iterator[tuple[str, Channel, int, bytes]]:
    yield "client", Channel.FILES, 0, b"x"
    yield "client", Channel.FILES, 2**40, bytes(range(256))
    yield "node", Channel.CONTENTS, 65_536, b"y"


Tree = list[tuple[TreeEntry, bytes]]


def _file(path: str, data: bytes) -> tuple[TreeEntry, bytes]:
    entry = TreeEntry(path.encode(), FILE, size=len(data), digest=hashlib.sha256(data).digest())
    return entry, data


def _tree() -> Tree:
    return [
        (TreeEntry(b"a", DIRECTORY), b""),
        _file("a/first", b"twice"),
        _file("a-b", b"other"),
        _file("empty", b""),
        _file("last", b"twice"),
        (TreeEntry(b"link", LINK, target=b"a/first"), b""),
    ]


def _pack(tree: Tree) -> bytes:
    """Return a tree's pack, made without the code that makes packs."""
    listing = encode(entry for entry, _ in tree)
    once: dict[bytes, bytes] = {}
    for entry, data in sorted(tree, key=lambda item: item[0].path):
        once.setdefault(entry.digest, data)
    return struct.pack("<I", len(listing)) + listing + b"".join(once.values())


def _refused_packs() -> Iterator[tuple[str, bytes]]:
    whole = _pack(_tree())
    (length,) = struct.unpack_from("<I", whole)
    yield "nothing", b""
    yield "a prefix cut short", whole[:3]
    yield "a listing that is longer than the pack", struct.pack("<I", len(whole)) + whole[4:]
    yield "a listing cut short", struct.pack("<I", length - 1) + whole[4:]
    yield "a byte of the listing changed", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]
    yield "a byte of a file changed", whole[:-1] + bytes([whole[-1] ^ 1])
    yield "a file cut short", whole[:-1]
    yield "a byte too much", whole + b"x"
    doubled = b"".join(data for entry, data in sorted(_tree(), key=lambda item: item[0].path))
    yield "equal files twice", whole[: 4 + length] + doubled
    yield "blobs in another order", whole[: 4 + length] + b"twice" + b"other"
    yield "a listing of many bytes", struct.pack("<I", 2**32 - 1) + MAGIC


def generate() -> dict[str, Any]:
    """Return the vectors."""
    trees: dict[str, Tree] = {"nothing": [], "a tree": _tree(), "one file": [_file("x", b"bytes")]}
    return {
        "messages": [
            {"from": side, "message": m.encode(message), "frame_hex": control_frame(message).hex()}
            for side, message in _messages()
        ],
        "data": [
            {
                "from": side,
                "channel": channel.label,
                "number": int(channel),
                "offset": offset,
                "data_hex": data.hex(),
                "frame_hex": data_frame(channel, offset, data).hex(),
            }
            for side, channel, offset, data in _data()
        ],
        "packs": [
            {
                "name": name,
                "pack_hex": _pack(tree).hex(),
                "tree": sha256(encode(entry for entry, _ in tree)),
                "files": {entry.path.decode(): data.hex() for entry, data in tree if entry.kind == FILE},
            }
            for name, tree in trees.items()
        ],
        "refused_packs": [{"why": why, "pack_hex": pack.hex()} for why, pack in _refused_packs()],
        "possession": {
            "challenge": "00" * 32,
            "pack_hex": _pack(_tree()).hex(),
            "proof": sha256(bytes(32) + _pack(_tree())),
        },
    }


if __name__ == "__main__":
    (HERE / "file_transfer.json").write_text(json.dumps(generate(), indent=1) + "\n")
