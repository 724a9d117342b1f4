"""Hold all engines against each other on dense code: `python tests/fuzz/fuzz_dense.py --inputs 200000 --seed 1`.

Modules are those of `tests.fuzz.dense`. Each is validated, checked, metered, and run with little gas on every engine
that is installed and has its features, wasmer under its own interpreter (PLASM_TEST_WASMER_PYTHON names one). To be
found: a module that is refused, metered code that is not valid, a process that dies or hangs, an exception, a system
error, engines that disagree. Findings are saved in a directory; the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from plasm_core.local_node import LocalNode  # noqa: E402
from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.interfaces import Runtime, Validator  # noqa: E402
from plasm_core.sandbox.admission.prepare import prepare  # noqa: E402
from plasm_core.sandbox.process.child import interpreter_path  # noqa: E402
from plasm_core.sandbox.process.entry import make  # noqa: E402
from tests.agreement.engines import EMBEDDED, configuration, missing, runtime_of  # noqa: E402
from tests.fuzz import observing  # noqa: E402
from tests.fuzz.dense import STEPS, dense_module  # noqa: E402
from tests.fuzz.fuzz_modules import Findings  # noqa: E402
from tests.fuzz.harness import Finding, Way  # noqa: E402

_BATCH = 100
_PROGRESS = 10_000


class EngineServer:
    """An engine in a process under its own interpreter, which observes batches of modules."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        python = runtime.python()
        path = [item for item in sys.path if os.path.isabs(item)]
        if python != sys.executable:
            path = [*filter(_has_sources, path), *interpreter_path(python)]
        command = [python, "-S", str(observing.__file__), runtime.entry, json.dumps(runtime.options())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(path)},
            text=True,
        )

    def observe(self, modules: list[tuple[str, bool]]) -> list[Any]:
        """Return what the engine makes of each module: a list, or a text that says what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(modules) + "\n")
        self._process.stdin.flush()
        answer: list[Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=observing.HANG_S)


def _has_sources(directory: str) -> bool:
    return "site-packages" not in directory and any(Path(directory).glob("plasm_*/__init__.py"))


@attrs.define
class _Case:
    """One module: what its code is in each way of metering, and what was seen of it."""

    module: bytes
    codes: dict[Way, bytes] = attrs.field(factory=dict)
    features: frozenset[str] = frozenset()
    has_start: bool = False
    seen: dict[str, Any] = attrs.field(factory=dict)
    findings: list[Finding] = attrs.field(factory=list)


class DenseFuzzer:
    """The validator and the engines. Modules are examined in batches, one engine after the other."""

    def __init__(self, engines: Sequence[str] = EMBEDDED) -> None:
        validator = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
        self._validate = make(validator.entry, validator.options()).validate
        with LocalNode(configuration()) as node:
            self.servers = {
                name: EngineServer(runtime_of(node, name)) for name in engines if not missing(name)
            }

    def close(self) -> None:
        """End the engines' processes."""
        for server in self.servers.values():
            server.close()

    def examine(self, modules: Iterator[bytes]) -> Iterator[tuple[bytes, str, list[Finding]]]:
        """Give each module with a word for the statistics and what was found."""
        for batch in _batches(modules):
            cases = [self._prepared(module) for module in batch]
            for name, server in self.servers.items():
                way = Way.of(server.runtime)
                fit = [case for case in cases if case.codes and case.features <= server.runtime.features]
                answers = server.observe([(case.codes[way].hex(), case.has_start) for case in fit])
                for case, seen in zip(fit, answers, strict=True):
                    _note(case, name, seen)
            for case in cases:
                yield case.module, _verdict(case), case.findings

    def _prepared(self, module: bytes) -> _Case:
        case = _Case(module)
        for way in {Way.of(server.runtime) for server in self.servers.values()}:
            preparation, code = prepare(module, self._validate, **attrs.asdict(way))
            if preparation.problems or preparation.info is None:
                problem = preparation.problems[0]
                case.findings.append(Finding(what=f"refused: {problem.reason}", detail=problem.message))
                return _Case(module, findings=case.findings)
            try:
                self._validate(code)
            except ValueError as exc:
                case.findings.append(Finding(what="metered code is not valid", detail=str(exc)))
            case.codes[way] = code
            case.features = frozenset(preparation.info.features)
            case.has_start = preparation.info.has_start
        return case


def _batches(modules: Iterator[bytes]) -> Iterator[tuple[bytes, ...]]:
    while batch := tuple(itertools.islice(modules, _BATCH)):
        yield batch


def _note(case: _Case, name: str, seen: Any) -> None:
    if isinstance(seen, str):
        case.findings.append(Finding(what=f"{name}: {seen[:60]}", detail=seen))
    else:
        case.seen[name] = tuple(seen)


def _verdict(case: _Case) -> str:
    """Compare what the engines made of a module. Return a word for the statistics."""
    if len(set(case.seen.values())) > 1:
        what = " ".join(f"{name}:{seen[0]}" for name, seen in case.seen.items())
        case.findings.append(Finding(what=f"engines disagree: {what}", detail=repr(case.seen)))
    if not case.seen:
        return "ran nowhere"
    return f"ran on {len(case.seen)}: {next(iter(case.seen.values()))[0]}"


def fuzz(
    count: int,
    seed: int,
    *,
    steps: int = STEPS,
    floats: bool = False,
    lowered: bool = False,
    raising: bool = False,
    engines: Sequence[str] = EMBEDDED,
    findings: Path | None = None,
    progress: bool = False,
) -> tuple[collections.Counter[str], Findings, list[str]]:
    """Examine so many modules. Return the verdicts, what was found, and the engines there were."""
    rng = random.Random(seed)
    fuzzer = DenseFuzzer(engines)
    verdicts: collections.Counter[str] = collections.Counter()
    found = Findings(findings)
    try:
        for module, verdict, findings_ in fuzzer.examine(
            dense_module(rng, steps=steps, floats=floats, lowered=lowered, raising=raising)
            for _ in range(count)
        ):
            verdicts[verdict] += 1
            for finding in findings_:
                found.add(module, finding)
            if progress and verdicts.total() % _PROGRESS == 0:
                sys.stderr.write(f"{verdicts.total()} inputs, {found.counts.total()} findings\n")
    finally:
        fuzzer.close()
    return verdicts, found, list(fuzzer.servers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), metavar="DIRECTORY")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="of a function, at most")
    parser.add_argument("--floats", action="store_true", help="prefer floats, and branches that carry them")
    parser.add_argument("--lowered", action="store_true", help="use what is lowered for engines that lack it")
    parser.add_argument("--raising", action="store_true", help="use exceptions and tail calls")
    parser.add_argument(
        "--engines", default=",".join(EMBEDDED), metavar="NAMES", help="v8 and winch are others"
    )
    options = parser.parse_args()
    started = time.monotonic()
    verdicts, found, engines = fuzz(
        options.inputs,
        options.seed,
        steps=options.steps,
        floats=options.floats,
        lowered=options.lowered,
        raising=options.raising,
        engines=options.engines.split(","),
        findings=options.findings,
        progress=True,
    )
    lines = [
        f"dense inputs {verdicts.total()}, seed {options.seed}, steps {options.steps}{', floats' * options.floats}{', lowered' * options.lowered}{', raising' * options.raising}, {time.monotonic() - started:.0f} s",
        f"engines {', '.join(engines)}",
        *(f"{count:8} {verdict}" for verdict, count in verdicts.most_common()),
        f"findings {found.counts.total() or 'none'}",
        *(f"{count:8} {what}" for what, count in found.counts.most_common()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found.counts else 0


if __name__ == "__main__":
    sys.exit(main())
