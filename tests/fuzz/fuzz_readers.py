"""Compare Python's and PHP's readers: `python tests/fuzz/fuzz_readers.py --inputs 100000 --seed 1`.

Receipts, envelopes, manifests, capability records, handles, PeerIds and a node's messages are damaged in the ways in which readers are
known to differ. Both must accept or refuse alike, and read the same values. The exit code is 1 if they do not.
"""

from __future__ import annotations

import argparse
import base64
import collections
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.fuzz.reader_inputs import Inputs  # noqa: E402
from tests.fuzz.readers import Input, PhpReaders, read  # noqa: E402

_SHOWN = 20
Difference = tuple[Input, Any, Any]


def differences(inputs: Iterator[Input], tried: collections.Counter[tuple[str, str]]) -> Iterator[Difference]:
    """Yield each input that the two read differently, and what each reads. `tried` counts verdicts by kind."""
    with PhpReaders() as php:
        for kind, data in inputs:
            ours = read(kind, data)
            (theirs,) = php.read([(kind, data)])
            tried[kind, "refused" if ours is None else "accepted"] += 1
            if ours != theirs:
                yield (kind, data), ours, theirs


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    found = 0
    started = time.monotonic()
    inputs = itertools.islice(Inputs(options.seed), options.inputs)
    for (kind, data), ours, theirs in differences(inputs, tried):
        found += 1
        if found <= _SHOWN:
            shown = base64.b64encode(data).decode()[:4_000]
            _tell(f"{kind}: python {str(ours)[:300]}\n  php {str(theirs)[:300]}\n  {shown}")
    for (kind, verdict), count in sorted(tried.items()):
        _tell(f"{kind:<14}{verdict:<10}{count:>8}")
    seconds = time.monotonic() - started
    _tell(f"seed {options.seed}: {sum(tried.values())} inputs in {seconds:.0f} s, {found} read differently")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
