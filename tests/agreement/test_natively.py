"""Jobs with files leave what wasmtime's own WASI leaves in a directory: output, exit code and each file.

The modules are built from sources of ours; `script/test-real-programs` does the same with programs of others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plasm_core.client.file_tree import FileTree
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.output import OutputStream
from plasm_core.testing.bench import MODULES
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration

LIMITS = Limits(gas=10**9, memory_bytes=16 << 20, output_bytes=1 << 20)
CORPUS = MODULES.parents[2] / "tests" / "corpus"

JOBS: dict[str, dict[str, Any]] = {
    "files": {"module": MODULES / "files.wasm", "tree": {"in/data": bytes(range(256)) * 40, "out": None}},
    "script": {
        "module": MODULES / "script.wasm",
        "tree": {"project/main.say": b"some words\n"},
        "args": ("-q", "/project/main.say", "more"),
    },
    "no script": {"module": MODULES / "script.wasm", "tree": {"project": None}, "args": ("-q", "/none")},
    "entry": {"module": MODULES / "entry.wasm", "tree": {}, "entry": "seven"},
    "exiting entry": {"module": MODULES / "entry.wasm", "tree": {}, "entry": "exits"},
    "hello": {
        "module": CORPUS.parents[1] / "examples" / "hello" / "hello.wasm",
        "tree": {},
        "args": ("one", "two"),
    },
}


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


def natively(job: dict[str, Any], work: Path) -> tuple[Any, ...]:
    """Return what a job leaves on wasmtime alone: exit code, stdout, stderr and files."""
    root = work / "root"
    for name, data in {**job["tree"], "tmp": None}.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True) if data is None else place.write_bytes(data)
    streams = {name: str(work / name) for name in ("stdin", "stdout", "stderr")}
    Path(streams["stdin"]).write_bytes(b"")
    spec: dict[str, Any] = {
        "module": str(job["module"]),
        "cache": str(work / "cache"),
        "root": str(root),
        **streams,
    }
    spec |= {"args": job.get("args", ()), "env": [], "entry": job.get("entry")}
    command = [sys.executable, "-m", "tests.real_programs.native", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    left = {
        str(path.relative_to(root)): b"" if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }
    outputs = [Path(streams[name]).read_bytes() for name in ("stdout", "stderr")]
    return json.loads(done.stdout), *outputs, left


def through(node: LocalNode, engine: str, job: dict[str, Any]) -> tuple[Any, ...]:
    """Return what it leaves as a job on an engine."""
    code, inputs = job["module"].read_bytes(), JobInput(args=tuple(map(str.encode, job.get("args", ()))))
    tree = FileTree()
    for name, data in {**job["tree"], "tmp": None}.items():
        tree.make_directory(name) if data is None else tree.add_bytes(data, name)
    streams = {stream: bytearray() for stream in OutputStream}
    with tree.pack() as pack:
        asked = tree.asked(pack, outputs=(".",))
        manifest = manifest_for(code, inputs, limits=LIMITS, files=asked, entry=job.get("entry"))
        done = execute(
            *(
                node,
                manifest,
                lambda: code,
                inputs,
                PassedOn(lambda stream, data: streams[stream].extend(data)),
            ),
            runtime=engine,
            files=pack,
        )
    assert done.files is not None
    left = {
        item.entry.path.decode(): b"".join(done.files.read(item))
        for item in done.files.entries(".")
        if item.entry.path
    }
    done.files.close()
    return done.run.outcome.code, *(bytes(data) for data in streams.values()), left


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", JOBS)
def test_a_job_leaves_what_it_leaves_natively(
    node: LocalNode, engine: str, name: str, tmp_path: Path
) -> None:
    skip_if_missing(engine)
    expected = natively(JOBS[name], tmp_path)

    assert through(node, engine, JOBS[name]) == expected
