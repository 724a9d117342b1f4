"""Jobs in a network of which most nodes lie: `python -m tests.network.liars DIRECTORY --jobs 200`.

Three nodes of ten are honest and real daemons; seven lie in one way (`tests.support.lying`,
`tests.support.lying_directory`), and so does each kind in turn. `mixed` are seven kinds at once; `sybils` are twenty
identities of one /24. The honest nodes are a second away, so that every client meets the liars first.

The jobs are run by Python's client, then by a gateway, several at once each, and then by PHP's client in several
processes, which share what they remember. A line for each kind and client: how many jobs ended with the right output
and a verified receipt, the longest time by which one exceeded its wall time, and how many lies were told to it. The
exit code is 1 if a job did not end so, or exceeded its wall time by more than `ALLOWED_S`, or if a client met no liar.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from tests.network.conftest import NETWORKED
from tests.network.sweep import by_client, by_gateway, small_network, wait_for
from tests.support.daemon import Daemon
from tests.support.lying_directory import ADDRESSES, PROVIDERS, RELAY
from tests.support.sweeping import HELLO, Ended, Summary

LYING = 7
IN_FLIGHT = 8
PROCESSES = 4
WALL_TIME_S = 10
ALLOWED_S = 90.0
"""By so much a job may exceed its wall time: the first jobs of a client that knows nobody meet liars at once."""
_DEADLINE_S = 60.0
_SCRIPT = Path(__file__).parents[1] / "support" / "sweep.php"
HONEST = "tests.support.distant_node"
MIXED = ("silent", "states", "receipt", "tainting", "cancelled", ADDRESSES, RELAY)
SYBILS, SYBILS_AT = "sybils", "127.9.9"
CASTS: dict[str, tuple[str, ...]] = {
    "silent": ("silent",) * LYING,
    "slow": ("slow",) * LYING,
    "talkative": ("heartbeats", "progress", "credits", "states", "heartbeats", "progress", "states"),
    "idle": ("waiting", "running", "waiting", "running", "waiting", "running", "waiting"),
    "receipt": ("receipt",) * LYING,
    "output": ("tainting", "pouring", "tainting", "receipt", "tainting", "pouring", "tainting"),
    "claims": ("cancelled", "timed-out", "cancelled", "timed-out", "refusing", "cancelled", "timed-out"),
    "dropping": ("dropping",) * LYING,
    "record": ("record",) * LYING,
    ADDRESSES: (ADDRESSES,) * LYING,
    PROVIDERS: (PROVIDERS,) * LYING,
    RELAY: (RELAY,) * LYING,
    "mixed": MIXED,
    SYBILS: (*MIXED, "slow", "progress", "running", "timed-out", "dropping", "record", *MIXED),
}
"""Which liars there are, by the name of the row."""


@attrs.frozen(kw_only=True)
class Scene:
    """A network with liars: where to begin, and directories for who needs one."""

    directory: Path
    bootstrap: str

    def lies(self) -> Counter[str]:
        """Return how often each kind of lie was told so far."""
        return Counter(re.findall(r"^lied kind=(\S+)$", (self.directory / "liars.log").read_text(), re.M))

    def client(self, jobs: int) -> tuple[list[Ended], int]:
        """Run jobs by Python's client."""
        return trio.run(functools.partial(by_client, self.bootstrap, jobs, IN_FLIGHT, WALL_TIME_S)), 0

    def gateway(self, jobs: int) -> tuple[list[Ended], int]:
        """Run jobs by a gateway. Return how often it handed one on, too."""
        home = self.directory / "gateway"
        home.mkdir()
        settings = ("--bootstrap", self.bootstrap, "--set", "gateway.enabled=true")
        with Daemon(home, *NETWORKED, *settings) as daemon:
            daemon.launch()
            wait_for(daemon, " ready peer=")
            run = functools.partial(by_gateway, daemon, jobs, IN_FLIGHT, WALL_TIME_S)
            return trio.run(run), daemon.log.read_text().count("job handed on ")

    def php(self, jobs: int) -> tuple[list[Ended], int]:
        """Run jobs by PHP's client, in so many processes. How often a node accepted one is not known."""
        cache = self.directory / "php-cache"
        cache.mkdir(mode=0o700)
        share = max(1, jobs // PROCESSES)
        environ = os.environ | {"XDG_STATE_HOME": str(self.directory / "php-state")}
        running = [
            subprocess.Popen(
                ["php", _SCRIPT, self.bootstrap, HELLO, cache, str(WALL_TIME_S), str(first), str(share)],
                stdout=subprocess.PIPE,
                env=environ,
            )
            for first in range(0, jobs, share)
        ]
        said = [process.communicate()[0].decode() for process in running]
        return [Ended(**json.loads(line)) for text in said for line in text.splitlines()], 0


BY: dict[str, Callable[[Scene, int], tuple[list[Ended], int]]] = {
    "Python": Scene.client,
    "gateway": Scene.gateway,
    "PHP": Scene.php,
}


@contextmanager
def lying_network(directory: Path, kinds: Sequence[str], *, prefix: str | None = None) -> Iterator[Scene]:
    """Run three honest nodes, one to begin at, and liars of those kinds. `prefix`: that of all their addresses."""
    directory.mkdir(parents=True, exist_ok=True)
    with small_network(directory / "honest", program=HONEST) as bootstrap:
        with (directory / "liars.log").open("wb") as log:
            command = [sys.executable, "-m", "tests.support.liars", bootstrap, *kinds]
            command += ["--prefix", prefix] if prefix is not None else []
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", (directory / "liars.log").read_text()[-4000:]
            yield Scene(directory=directory, bootstrap=bootstrap)
        finally:
            process.kill()
            process.communicate(timeout=_DEADLINE_S)


@attrs.frozen(kw_only=True)
class Row:
    """What came of one client's jobs. `met`: how many lies of each kind it was told."""

    summary: Summary
    problems: Counter[str]
    met: Counter[str]

    @property
    def is_right(self) -> bool:
        """Whether every job ended as it should, in time, and there were lies to stand."""
        is_done = self.summary.done == self.summary.jobs
        return is_done and self.summary.over_s <= ALLOWED_S and self.met.total() > 0


def measure(scene: Scene, by: str, jobs: int) -> Row:
    """Run the jobs by one kind of client."""
    began, before = time.monotonic(), scene.lies()
    ended, handed_on = BY[by](scene, jobs)
    summary = Summary.of(ended, took_s=time.monotonic() - began, wall_time_s=WALL_TIME_S)
    if handed_on:
        summary = attrs.evolve(summary, attempts=round(handed_on / len(ended), 3))
    problems = Counter(job.problem for job in ended if job.problem)
    return Row(summary=summary, problems=problems, met=scene.lies() - before)


HEADS = ("liars", "client", "done", "of", "took s", "median s", "p95 s", "slowest s", "over s", "lies met")


def line(kind: str, by: str, row: Row) -> str:
    """Return a line of the table."""
    summary = row.summary
    values = (summary.done, summary.jobs, summary.took_s, summary.median_s, summary.p95_s, summary.slowest_s)
    return "".join(f"{value:>11}" for value in (kind, by, *values, summary.over_s, row.met.total())) + "\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=tuple(CASTS), default=tuple(CASTS))
    parser.add_argument("--by", nargs="+", choices=tuple(BY), default=tuple(BY))
    options = parser.parse_args()
    failed = False
    os.environ["XDG_STATE_HOME"] = str(options.directory / "state")  # false receipts are kept there
    sys.stdout.write("".join(f"{head:>11}" for head in HEADS) + "\n")
    for kind in options.kinds:
        directory = options.directory / kind
        with lying_network(directory, CASTS[kind], prefix=SYBILS_AT if kind == SYBILS else None) as scene:
            for by in options.by:
                row = measure(scene, by, options.jobs)
                failed |= not row.is_right
                sys.stdout.write(line(kind, by, row))
                for problem, count in row.problems.most_common(5):
                    sys.stdout.write(f"    {count} x {problem}\n")
                sys.stdout.flush()
        shutil.rmtree(directory)
    sys.exit(failed)


if __name__ == "__main__":
    main()
