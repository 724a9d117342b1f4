"""Fuzz what a node does with a module: `python tests/fuzz/fuzz_modules.py --inputs 50000 --seed 1`.

Modules are made by damaging those of the repository and generated ones. Each goes through preparation with the
real validator, and, if it is let in, through every installed engine that is for it, with little gas. To be found:
a process that dies, an exception, metered code that is not valid, a system error, engines that disagree, a hang.
Findings are saved in a directory; the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.fuzz.harness import ENGINES, Finding, Harness  # noqa: E402
from tests.fuzz.mutator import Mutator  # noqa: E402
from tests.support.wasmgen import module_of  # noqa: E402

_PLACES = ("examples", "plasm_core/testing/modules", "tests/corpus")
_MAX_SEED_BYTES = 40_000
_MAX_MODULE_BYTES = 200_000
_SAVED_OF_EACH = 5
_SHARE_GENERATED = 0.4


def corpus() -> list[bytes]:
    """Return the modules of the repository that are not too large to try often, in the order of their names."""
    files = sorted(file for place in _PLACES for file in (ROOT / place).rglob("*.wasm"))
    modules = [file.read_bytes() for file in files]
    return [module for module in modules if len(module) <= _MAX_SEED_BYTES]


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """Make modules. The same seed makes the same ones."""
    rng = random.Random(seed)
    modules = corpus()
    mutator = Mutator(modules, rng)
    for _ in range(count):
        if rng.random() < _SHARE_GENERATED:
            entropy = rng.randbytes(rng.choice((50, 400, 1_500)))
            module = module_of(entropy, bulk=rng.random() < 0.5, grow=rng.random() < 0.8)
        else:
            module = rng.choice(modules)
        yield (mutator.mutate(module) if rng.random() < 0.95 else module)[:_MAX_MODULE_BYTES]


class Findings:
    """What was found, by cause, and some examples of each in files."""

    def __init__(self, directory: Path | None) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._directory = directory

    def add(self, module: bytes, finding: Finding) -> None:
        """Count a finding, and save the module unless there are enough like it."""
        self.counts[finding.what] += 1
        if self._directory is None or self.counts[finding.what] > _SAVED_OF_EACH:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        name = "".join(char if char.isalnum() else "-" for char in finding.what)[:80]
        stem = self._directory / f"{name}-{hashlib.sha256(module).hexdigest()[:12]}"
        stem.with_suffix(".wasm").write_bytes(module)
        stem.with_suffix(".txt").write_text(f"{finding.what}\n{finding.detail}\n")


def fuzz(
    count: int,
    seed: int,
    *,
    engines: Sequence[str] = ENGINES,
    processes: int = 2,
    findings: Path | None = None,
    progress: bool = False,
) -> tuple[collections.Counter[str], Findings, list[str]]:
    """Examine so many modules. Return the verdicts, what was found, and the engines there were."""
    harness = Harness(engines)
    verdicts: collections.Counter[str] = collections.Counter()
    found = Findings(findings)
    for module, report in harness.examine(inputs(count, seed), processes=processes):
        verdicts[report.verdict] += 1
        for finding in report.findings:
            found.add(module, finding)
        if progress and verdicts.total() % 1_000 == 0:
            sys.stderr.write(f"{verdicts.total()} inputs, {found.counts.total()} findings\n")
    return verdicts, found, list(harness.runtimes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="examined at one time")
    parser.add_argument("--engines", default=",".join(ENGINES), metavar="NAMES", help="v8 is another")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), metavar="DIRECTORY")
    options = parser.parse_args()
    started = time.monotonic()
    verdicts, found, engines = fuzz(
        options.inputs,
        options.seed,
        engines=options.engines.split(","),
        processes=options.processes,
        findings=options.findings,
        progress=True,
    )
    lines = [
        f"inputs {verdicts.total()}, seed {options.seed}, {time.monotonic() - started:.0f} s",
        f"engines {', '.join(engines)}",
        *(f"{count:8} {verdict}" for verdict, count in verdicts.most_common()),
        f"findings {found.counts.total() or 'none'}",
        *(f"{count:8} {what}" for what, count in found.counts.most_common()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found.counts else 0


if __name__ == "__main__":
    sys.exit(main())
