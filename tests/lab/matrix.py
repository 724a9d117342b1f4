"""`python -m tests.lab.matrix`: run a job from behind every kind of router on a node behind every other.

For each pair it says whether the client came through straight, by a punched hole, through a relay, or not at all,
and in what time. The table goes to benchmarks/results/nat-matrix.txt.
"""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lab.internet import open_internet
from tests.lab.jobs import lasting
from tests.lab.namespaces import missing
from tests.lab.nat import Nat
from tests.lab.world import TRUTH, World, open_world

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "nat-matrix.txt"
ROUNDS = 2_000_000_000
"""Some two seconds of work, in which holes can be punched."""
DEADLINE_S = 60.0


def attempt(world: World, client: Nat, lender: Nat, job: Path) -> str:
    """Run a job, and return how it went."""
    node = world.lenders[lender]
    known = {each: len(each.log.read_text()) for each in (node, *world.relays)}
    started = time.monotonic()
    process = world.clients[client].start(
        *("run", "--bootstrap", world.begin.address, "--peer", node.peer, "--limit", "gas=1e12", str(job))
    )
    try:
        process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    seconds = time.monotonic() - started
    if process.returncode:
        return f"failed {seconds:.1f} s"
    said = {each: each.log.read_text()[at:] for each, at in known.items()}
    if not any("circuit begun" in said[relay] for relay in world.relays):
        return f"direct {seconds:.1f} s"
    punched = re.search(r" hole punched peer=", said[node])
    return f"punched {seconds:.1f} s" if punched else f"relayed {seconds:.1f} s"


def table(world: World, job: Path) -> list[str]:
    """Run all pairs, and return the lines of the table."""
    nats = list(Nat)
    width = max(len(nat.value) for nat in nats) + 4
    lines = ["client \\ node".ljust(width) + "".join(nat.value.ljust(width) for nat in nats)]
    for client in nats:
        cells = []
        for lender in nats:
            cells.append(attempt(world, client, lender, job))
            print(f"{client.value} to {lender.value}: {cells[-1]}", flush=True)  # noqa: T201
        lines.append(client.value.ljust(width) + "".join(cell.ljust(width) for cell in cells))
    return [line.rstrip() for line in lines]


def main() -> None:
    """Run the matrix and write the table."""
    reason = missing()
    if reason is not None:
        sys.exit(f"there can be no laboratory here: {reason}")
    nats = tuple(Nat)
    with (
        tempfile.TemporaryDirectory(prefix="plasm-matrix-") as directory,
        open_internet() as internet,
        open_world(internet, Path(directory), lenders=nats, clients=nats) as world,
    ):
        world.settle(nats)
        verdicts = [
            f"{nat.value}: {world.lenders[nat].health()['reachability'].found} (in truth {TRUTH[nat]})"
            for nat in nats
        ]
        job = Path(directory) / "job.wasm"
        job.write_bytes(lasting(ROUNDS))
        lines = table(world, job)
    head = [
        "A job from a client behind one kind of router on a node behind another, with two relays in public.",
        "The time is that of the whole command, start of the interpreter and some two seconds of work included.",
        f"{datetime.date.today()}, Python {platform.python_version()}, {platform.machine()}, one machine",
    ]
    RESULTS.write_text("\n".join([*head, "", *lines, "", "What the nodes say of themselves:", *verdicts, ""]))


if __name__ == "__main__":
    main()
