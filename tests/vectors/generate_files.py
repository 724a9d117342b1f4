"""Compute files.json from docs/files.md, with nothing of Plasm's own code.

`python -m tests.vectors.generate_files` writes the file again.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.vectors.generate import PLAIN_TASK, manifest, sha256

Json = dict[str, Any]

FILE = Path(__file__).with_name("files.json")
MAGIC = b"plasm.tree/v1\n"


def directory(path: bytes) -> bytes:
    return struct.pack("<BI", 3, len(path)) + path


def file(path: bytes, data: bytes) -> bytes:
    return (
        struct.pack("<BI", 4, len(path)) + path + struct.pack("<Q", len(data)) + bytes.fromhex(sha256(data))
    )


def link(path: bytes, target: bytes) -> bytes:
    return struct.pack("<BI", 7, len(path)) + path + struct.pack("<I", len(target)) + target


def listed(name: str, *entries: bytes) -> Json:
    data = MAGIC + b"".join(entries)
    return {"name": name, "listing_hex": data.hex(), "sha256": sha256(data)}


def refused(name: str, data: bytes) -> Json:
    return {"name": name, "listing_hex": data.hex()}


LISTINGS = [
    listed("empty"),
    listed("one-file", file(b"a", b"hello\n")),
    listed("empty-file", file(b"a", b"")),
    listed("order-is-of-bytes", file(b"a-b", b"1"), directory(b"a.d"), directory(b"aa"), file(b"aa/x", b"2")),
    listed("longest", file(b"x" * 255, b""), directory(b"y" * 255)),
    listed("utf-8", file("é€😀".encode(), b"x"), file("\u202e\n".encode(), b"y")),
    listed(
        "all-kinds",
        *(directory(b"d"), directory(b"d/e"), file(b"d/e/f", b"x" * 1000), link(b"d/l", b"../other/./x")),
        *(file(b"other", b"x" * 1000), link(b"z", b"nowhere")),
    ),
]
REFUSED = [
    refused("nothing", b""),
    refused("another-magic", b"plasm.tree/v2\n"),
    refused("cut-in-the-head", MAGIC + b"\x03\x01"),
    refused("cut-in-the-path", MAGIC + struct.pack("<BI", 3, 5) + b"abc"),
    refused("cut-in-the-digest", MAGIC + file(b"a", b"x")[:-1]),
    refused("cut-in-the-target", MAGIC + link(b"a", b"xyz")[:-1]),
    refused("unknown-kind", MAGIC + struct.pack("<BI", 5, 1) + b"a"),
    *(
        refused(name, MAGIC + directory(path))
        for name, path in {
            "empty-path": b"",
            "absolute": b"/a",
            "ends-in-a-slash": b"a/",
            "dot": b".",
            "dots": b"..",
            "nul": b"a\0",
            "not-utf-8": b"\xff",
            "surrogate": b"\xed\xa0\x80",
            "overlong": b"\xc0\xaf",
            "name-of-256-bytes": b"x" * 256,
            "without-its-directory": b"a/b",
        }.items()
    ),
    refused("dots-inside", MAGIC + directory(b"a") + directory(b"a/..")),
    refused("twice", MAGIC + directory(b"a") + directory(b"a")),
    refused("out-of-order", MAGIC + directory(b"b") + directory(b"a")),
    refused("in-a-file", MAGIC + file(b"a", b"") + file(b"a/b", b"")),
    refused("in-a-link", MAGIC + link(b"a", b"b") + file(b"a/b", b"")),
    refused("empty-target", MAGIC + link(b"a", b"")),
    refused("absolute-target", MAGIC + link(b"a", b"/etc")),
    refused("target-with-nul", MAGIC + link(b"a", b"b\0")),
    refused("target-not-utf-8", MAGIC + link(b"a", b"\xff")),
    refused(
        "file-too-large", MAGIC + struct.pack("<BI", 4, 1) + b"a" + struct.pack("<Q", 2**40 + 1) + bytes(32)
    ),
    refused("path-of-1025-bytes", MAGIC + struct.pack("<BI", 3, 1_025) + b"x" * 1_025),
]


def list_digest(paths: list[str]) -> bytes:
    encoded = sorted(b"" if path == "." else path.encode() for path in paths)
    return bytes.fromhex(sha256(b"".join(struct.pack("<Q", len(path)) + path for path in encoded)))


def task(
    name: str, tree: str, read_only: list[str], outputs: list[str], limits: tuple[int, int, int]
) -> Json:
    """Return a manifest with files and its task digest, over the fields in the order of the page."""
    made = manifest({**PLAIN_TASK, "profile": "plasm.det/v2"})
    names = ("data_bytes", "entries", "descriptors")
    made["files"] = {
        "tree": tree,
        "read_only": read_only,
        "outputs": outputs,
        "limits": dict(zip(names, limits, strict=True)),
    }
    given = made["limits"]
    fields = [
        ("profile", b"plasm.det/v2"),
        *((each, bytes.fromhex(made[each])) for each in ("module", "args", "env", "stdin", "seed")),
        *(
            (each, struct.pack("<Q", given[field]))
            for each, field in (("gas", "gas"), ("memory", "memory_bytes"), ("output", "output_bytes"))
        ),
        ("capabilities", "\n".join(sorted(made["capabilities"])).encode()),
        ("tree", bytes.fromhex(tree)),
        ("read-only", list_digest(read_only)),
        ("outputs", list_digest(outputs)),
        ("file-bytes", struct.pack("<Q", limits[0])),
        ("file-entries", struct.pack("<Q", limits[1])),
        ("file-descriptors", struct.pack("<Q", limits[2])),
    ]
    return {"name": name, "manifest": made, "task_digest": digest_of(fields)}


def entry_task(name: str, entry: str) -> Json:
    """Return a manifest with an entry and without files, and its task digest."""
    made = manifest({**PLAIN_TASK, "profile": "plasm.det/v2"})
    made["entry"] = entry
    given = made["limits"]
    return {
        "name": name,
        "manifest": made,
        "task_digest": digest_of(
            [
                ("profile", b"plasm.det/v2"),
                *((each, bytes.fromhex(made[each])) for each in ("module", "args", "env", "stdin", "seed")),
                *(
                    (each, struct.pack("<Q", given[field]))
                    for each, field in (
                        ("gas", "gas"),
                        ("memory", "memory_bytes"),
                        ("output", "output_bytes"),
                    )
                ),
                ("capabilities", "\n".join(sorted(made["capabilities"])).encode()),
                ("entry", entry.encode()),
            ]
        ),
    }


def digest_of(fields: list[tuple[str, bytes]]) -> str:
    """Return the digest of named fields."""
    return sha256(
        b"".join(
            struct.pack("<I", len(each)) + each.encode() + struct.pack("<Q", len(value)) + value
            for each, value in fields
        )
    )


_WRITES = (1 + 2) + (1 + 5) + (1_000 + 8 + 1)
"""What a function of entry.wat costs that writes its letter: its entry, a constant and a call; those of $write."""
_BEFORE = 2 * _WRITES


def entry_run(entry: str, outcome: Json, gas_used: int, stdout: bytes = b"si", gas: int = 10**9) -> Json:
    """Return what a run of entry.wat must come to."""
    return {
        "entry": entry,
        "gas": gas,
        "outcome": outcome,
        "gas_used": gas_used,
        "stdout_hex": stdout.hex(),
    }


def exited(code: int) -> Json:
    return {"kind": "exited", "code": code}


ENTRY_RUNS = [
    entry_run("nothing", exited(0), _BEFORE + 1),
    entry_run("returns", exited(0), 3 * _WRITES, b"sie"),
    entry_run("seven", exited(7), 3 * _WRITES + 1, b"sie"),
    entry_run("greatest", exited(2**32 - 1), _BEFORE + 2),
    entry_run("exits", exited(3), _BEFORE + 1 + 2 + 1_000),
    entry_run("a name: é", exited(1), _BEFORE + 2),
    entry_run("yields", exited(0), _BEFORE + 1_000),
    entry_run("traps", {"kind": "trapped", "trap": "unreachable"}, _BEFORE + 1),
    entry_run("loops", {"kind": "out_of_gas"}, 5_000, gas=5_000),
    entry_run("returns", {"kind": "out_of_gas"}, _WRITES - 1, b"", gas=_WRITES - 1),
    entry_run("returns", {"kind": "out_of_gas"}, 2 * _WRITES, gas=2 * _WRITES),
]


def document() -> Json:
    module = Path(__file__).resolve().parents[2] / "plasm_core" / "testing" / "modules" / "entry.wasm"
    tree = LISTINGS[-1]["sha256"]
    return {
        "comment": "Made by tests/vectors/generate_files.py from docs/files.md.",
        "listings": LISTINGS,
        "refused_listings": REFUSED,
        "tasks": [
            task("plain", tree, [], ["out"], (1 << 28, 65_536, 1_024)),
            task("all-of-it", tree, ["d", "other"], ["z", "b/c", "b.d"], (0, 6, 4)),
            task("root", LISTINGS[0]["sha256"], ["."], ["."], (2**32, 0, 4_096)),
            task("root-sorts-first", tree, ["-", "."], ["-"], (1, 10, 5)),
            task("nothing-kept", tree, [], [], (1, 10, 5)),
        ],
        "entry_tasks": [entry_task("plain", "main"), entry_task("utf-8", "a name: é")],
        "entry_module_hex": module.read_bytes().hex(),
        "entry_runs": ENTRY_RUNS,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
