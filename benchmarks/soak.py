"""Run very many jobs and watch that nothing grows: `python benchmarks/soak.py --jobs 10000`.

Watched are the node's descriptors, memory, children and zombies, and its zygotes' memory and descriptors.
The first tenth of the jobs does not count. The exit code is 1 if anything grew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.interfaces import Runtime  # noqa: E402
from plasm_core.testing.bench import module_named  # noqa: E402
from tests.support import processes  # noqa: E402
from tests.support.lab import open_lab  # noqa: E402

_WORKERS = 8 + 2
"""Idle and ending workers come and go, and a zygote that is just forking holds their sockets."""
_KIB = 1 << 10
_ALLOWED = {
    "fds": _WORKERS,
    "zombies": 4,
    "children": _WORKERS,
    "rss_kib": 4 << 10,
    "zygote_fds": _WORKERS,
    "zygote_rss_kib": 1 << 10,
}
"""How much more there may be at the end than at the beginning."""


@attrs.frozen
class Sample:
    """What a node holds after some jobs."""

    jobs: int
    seconds: float
    fds: int
    zombies: int
    children: int
    rss_kib: int
    zygote_fds: int
    zygote_rss_kib: int


def sample(jobs: int, seconds: float) -> Sample:
    """Look at this process and the largest of its zygotes."""
    me = os.getpid()
    zygotes = processes.zygotes(me)
    children = processes.children(me)
    return Sample(
        jobs=jobs,
        seconds=seconds,
        fds=len(processes.descriptors(me)),
        zombies=sum(child.state == "Z" for child in children),
        children=len(children),
        rss_kib=processes.resident_bytes(me) // _KIB,
        zygote_fds=max((len(processes.descriptors(pid)) for pid in zygotes), default=0),
        zygote_rss_kib=max((processes.resident_bytes(pid) // _KIB for pid in zygotes), default=0),
    )


def soak(jobs: int, *, isolation: str, runtime: str, threads: int, samples: int) -> list[Sample]:
    """Run jobs and return samples, printing each."""
    chosen = loading.create(Runtime, runtime, {})  # type: ignore[type-abstract]
    found: list[Sample] = []
    failures: list[str] = []
    header = " ".join(f"{field.name:>14}" for field in attrs.fields(Sample))
    sys.stdout.write(f"isolation={isolation} runtime={runtime} threads={threads}\n{header}\n")
    with tempfile.TemporaryDirectory() as directory, open_lab(Path(directory), isolation=isolation) as lab:
        program = lab.admit(module_named("echo"), chosen)
        started = time.monotonic()

        def work(count: int) -> None:
            for turn in range(count):
                text = b"input %d" % turn
                job = lab.run(program, stdin=text)
                if not job.outcome.ok or job.stdout != text:
                    failures.append(f"{job.outcome} {job.stdout!r}")

        each = max(1, jobs // samples // threads)
        for number in range(1, samples + 1):
            team = [threading.Thread(target=work, args=(each,)) for _ in range(threads)]
            for thread in team:
                thread.start()
            for thread in team:
                thread.join()
            taken = sample(number * each * threads, round(time.monotonic() - started, 1))
            found.append(taken)
            sys.stdout.write(" ".join(f"{value:>14}" for value in attrs.astuple(taken)) + "\n")
            sys.stdout.flush()
    if failures:
        raise SystemExit(f"{len(failures)} jobs went wrong, the first: {failures[0]}")
    left = processes.children(os.getpid())
    if left:
        raise SystemExit(f"{len(left)} processes are left: {left[0]}")
    return found


def growth(found: list[Sample]) -> dict[str, int]:
    """Return by how much each figure grew more than it may, from the first sample to the last."""
    first, last = attrs.asdict(found[0]), attrs.asdict(found[-1])
    over = {name: last[name] - first[name] - allowed for name, allowed in _ALLOWED.items()}
    return {name: by for name, by in over.items() if by > 0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--isolation", choices=["process", "shared"], default="process")
    parser.add_argument("--runtime", default="wasmtime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=10)
    options = parser.parse_args()
    found = soak(
        options.jobs,
        isolation=options.isolation,
        runtime=options.runtime,
        threads=options.threads,
        samples=options.samples,
    )
    grown = growth(found)
    for name, by in grown.items():
        sys.stdout.write(f"grew: {name}, by {by} more than it may\n")
    if not grown:
        sys.stdout.write("nothing grew\n")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
