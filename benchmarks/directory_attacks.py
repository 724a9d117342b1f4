"""Whether new providers are found although servers of the directory lie, and how many messages that takes.

    python benchmarks/directory_attacks.py --size 300 --trials 20 --seed 1

The networks are simulated: the product's own nodes, tables, lookups and searches, on messages that take 20 to 200 ms
of a clock that jumps. Each trial lists a new provider and has a new client look for it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import simulated_directory as simulated

Make = Callable[[int, int], Awaitable[simulated.Simulation]]


async def _now(
    make: Callable[[int, int], simulated.Simulation], seed: int, size: int
) -> simulated.Simulation:
    return make(seed, size)


def _liars(lie: simulated.Lie) -> Callable[[int, int], simulated.Simulation]:
    return lambda seed, size: simulated.with_liars(seed, size, lie, 1 / 3)


def _sybils(*, prefixes: int = 1, hidden: bool = False) -> Callable[[int, int], simulated.Simulation]:
    return lambda seed, size: simulated.with_sybils(seed, size, 320, prefixes, hidden=hidden)


ATTACKS: dict[str, Callable[[int, int], simulated.Simulation]] = {
    "nobody lies": lambda seed, size: simulated.with_liars(seed, size, simulated.kin, 0.0),
    "320 identities in one /24": _sybils(),
    "320 identities in one /24, named elsewhere": _sybils(hidden=True),
    "320 identities in four /24s": _sybils(prefixes=4),
    "a third names its own kind": _liars(simulated.kin),
    "a third names nobody who is there": _liars(simulated.nobody),
    "a third names false addresses": _liars(simulated.elsewhere),
}


async def _measured(make: Make, seed: int, size: int, trials: int) -> simulated.Measured:
    return await (await make(seed, size)).measure(trials)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=300, help="servers, without the identities made up")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print(f"{'':44} {'found':>7} {'to list':>8} {'to find':>8} {'median s':>9}")  # noqa: T201
    for name, make in ATTACKS.items():
        clock = trio.testing.MockClock(autojump_threshold=0)
        result = trio.run(
            _measured, partial(_now, make), options.seed, options.size, options.trials, clock=clock
        )
        print(  # noqa: T201
            f"{name:44} {result.found:3}/{options.trials:3} {statistics.median(result.told):8.0f} "
            f"{statistics.median(result.searched):8.0f} {statistics.median(result.seconds):9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
