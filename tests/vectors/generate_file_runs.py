"""Write file_runs.json: what jobs with files must come to.

    python -m tests.vectors.generate_file_runs

It runs each job on wasmtime. That the other engines come to the same is what tests/agreement holds; their hosts over
files are two, in Python and in JavaScript. The expected numbers of the first three runs and of the script of calls are
derived from docs/files.md in tests/agreement/test_files.py.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

from plasm_core.local_node import LocalNode
from plasm_core.records import Limits, sha256
from plasm_core.records.files import FileLimits
from plasm_core.records.manifest import GAS_SCHEDULE_V2, PROFILE_V2
from plasm_core.testing.bench import module_named
from tests.agreement.engines import configuration
from tests.agreement.file_jobs import AMPLE, LIMITS, Ended, job, random_script, run, script, tree

FILE = Path(__file__).parent / "file_runs.json"
RANDOM_RUNS = 24


def _run(module: str, name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "module": module, **given}


def runs() -> list[dict[str, Any]]:
    """Return the jobs, without what comes of them."""
    return [
        _run("files", "copies its files"),
        _run("files", "reaches its quota", data_bytes=2_000),
        _run("files", "runs out of gas", gas=2_000),
        _run("files", "has no room for another name", entries=8),
        _run("files", "leaves an output that is not there", outputs=("none", "out")),
        _run("files", "leaves its whole tree", outputs=(".",)),
        _run("calls", "a script of calls", stdin=script().image(), outputs=("in", "out")),
        *(
            _run(
                "calls",
                f"calls at random {seed}",
                stdin=random_script(seed).image(),
                outputs=("a", "in", "out"),
            )
            for seed in range(RANDOM_RUNS)
        ),
    ]


def perform(node: LocalNode, engine: str, item: dict[str, Any]) -> Ended:
    """Run a job of `runs` or of the file, which are the same but for standard input."""
    stdin = item.get("stdin", b"")
    if isinstance(stdin, str):
        stdin = zlib.decompress(base64.b64decode(stdin))
    return run(node, engine, item["module"], stdin=stdin, **_terms(item))


def _terms(item: dict[str, Any]) -> dict[str, Any]:
    limits = FileLimits(
        data_bytes=item.get("data_bytes", LIMITS.data_bytes),
        entries=item.get("entries", LIMITS.entries),
        descriptors=LIMITS.descriptors,
    )
    return {
        "outputs": tuple(item.get("outputs", ("out",))),
        "limits": limits,
        "gas": item.get("gas", AMPLE.gas),
    }


def expected(ended: Ended) -> dict[str, Any]:
    """Return what a run came to, as the file has it."""
    return {
        "outcome": ended.outcome,
        "gas_used": str(ended.gas_used),
        "stdout": {"sha256": sha256(ended.stdout), "bytes": len(ended.stdout)},
        "stderr": {"sha256": sha256(ended.stderr), "bytes": len(ended.stderr)},
        "products": [list(product) for product in ended.products],
    }


def _packed(stdin: bytes) -> str:
    return base64.b64encode(zlib.compress(stdin, 9)).decode()


def document(node: LocalNode) -> dict[str, Any]:
    """Return all that the file has."""
    with tree().pack() as pack:
        packed = os.pread(pack.fd, pack.size_bytes, 0)
    found = []
    for item in runs():
        made = {name: _packed(value) if name == "stdin" else value for name, value in item.items()}
        stdin = item.get("stdin", b"")
        found.append(
            {
                **made,
                "task_digest": job(item["module"], stdin=stdin, **_terms(item)).task_digest,
                "expected": expected(perform(node, "wasmtime", item)),
            }
        )
    limits: Limits = AMPLE
    return {
        "comment": "Made by tests/vectors/generate_file_runs.py; tests/vectors/README.md says what it has.",
        "profile": PROFILE_V2,
        "gas_schedule": GAS_SCHEDULE_V2,
        "modules": {name: sha256(module_named(name)) for name in sorted({item["module"] for item in runs()})},
        "pack_hex": packed.hex(),
        "read_only": ["in/more"],
        "limits": {
            "gas": str(limits.gas),
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
        },
        "file_limits": {
            "data_bytes": LIMITS.data_bytes,
            "entries": LIMITS.entries,
            "descriptors": LIMITS.descriptors,
        },
        "runs": found,
    }


def main() -> None:
    """Write the file."""
    with LocalNode(configuration()) as node:
        text = json.dumps(document(node), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
