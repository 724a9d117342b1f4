"""Runs the modules of the WASI test suite for preview 1: `python -m tests.agreement.wasi_suite DIRECTORY [ENGINE…]`.

DIRECTORY is a checkout of the branch `prod/testsuite-base` of github.com/WebAssembly/wasi-testsuite. Each module runs as
a job whose files are the suite's own directory for it. What is printed are the modules that fail, on each engine, and
those whose gas or output differs from the first engine's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs

from plasm_core.client.file_tree import FileTree
from plasm_core.errors import PlasmError
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.files import Product
from plasm_core.records.output import OutputStream
from tests.agreement.engines import ENGINES, configuration, missing


@attrs.frozen(kw_only=True)
class Result:
    """How a module ended: whether as the suite wants it, and what two engines must agree on."""

    passed: bool
    told: str
    observed: tuple[object, ...] = ()


def run(node: LocalNode, engine: str, module: Path) -> Result:
    """Run a module of the suite on an engine."""
    config_file = module.with_suffix(".json")
    wanted = json.loads(config_file.read_text()) if config_file.exists() else {}
    tree = FileTree()
    has_files = "root" in wanted
    if has_files:
        tree.add_directory(module.parent / wanted["root"], "", read_only=False)
    inputs = JobInput(
        args=tuple(item.encode() for item in wanted.get("args", ())),
        env=tuple(f"{name}={value}".encode() for name, value in wanted.get("env", {}).items()),
    )
    code = module.read_bytes()
    with tree.pack() as pack:
        manifest = manifest_for(
            code,
            inputs,
            limits=Limits(gas=2 * 10**9, memory_bytes=64 << 20, output_bytes=1 << 20),
            files=tree.asked(pack, outputs=(".",)) if has_files else None,
        )
        streams = {stream: bytearray() for stream in OutputStream}

        def take(stream: OutputStream, data: bytes) -> None:
            streams[stream] += data

        try:
            done = execute(
                *(node, manifest, lambda: code, inputs, PassedOn(take)),
                runtime=engine,
                files=pack if has_files else None,
            )
        except PlasmError as exc:
            return Result(passed=False, told=f"refused: {exc}")
    left: tuple[Product, ...] = ()
    if done.files is not None:
        left = done.files.digests
        done.files.close()
    outcome = done.run.outcome
    stdout = streams[OutputStream.STDOUT].decode("utf-8", "replace")
    passed = outcome.code == wanted.get("exit_code", 0) and stdout == wanted.get("stdout", stdout)
    stderr = streams[OutputStream.STDERR].decode("utf-8", "replace").strip()
    told = f"{outcome} {stderr[-600:]}"
    return Result(passed=passed, told=told, observed=(str(outcome), done.run.gas_used, stdout, stderr, left))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(directory: str, engines: list[str]) -> int:
    """Run all modules on each engine. Return how many failed on the first, or ended otherwise on another that runs them."""
    modules = sorted(Path(directory).glob("tests/*/testsuite/wasm32-wasip1/*.wasm"))
    first: dict[Path, Result] = {}
    failures = differences = 0
    with LocalNode(configuration()) as node:
        for engine in engines:
            passed = agreed = refused = 0
            for module in modules:
                found = run(node, engine, module)
                passed += found.passed
                refused += not found.observed
                if not first.get(module, found).passed or not found.passed:
                    _say(f"{engine} {module.stem}: {found.told}")
                reference = first.setdefault(module, found)
                agreed += found.observed == reference.observed
                if found.observed and found.observed != reference.observed:
                    differences += 1
                    _say(f"{engine} {module.stem}: {found.observed}\n    is not {reference.observed}")
            _say(f"{engine}: {passed} of {len(modules)} pass, {refused} refused, {agreed} as on {engines[0]}")
            failures = failures or (len(modules) - passed if engine == engines[0] else 0)
    return failures + differences


if __name__ == "__main__":
    wrong = main(sys.argv[1], sys.argv[2:] or [engine for engine in ENGINES if not missing(engine)])
    sys.exit(1 if wrong else 0)
