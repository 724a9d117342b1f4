"""Many jobs by one client, several at once, and what became of each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from plasm_core import config
from plasm_core.client import AsyncClient, Submission
from plasm_core.config import Config
from plasm_core.errors import PlasmError
from plasm_core.records import Handle

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.wasm"
GIVE_UP_S = 600.0


@attrs.frozen(kw_only=True)
class Ended:
    """One job: how long it took from `run` to its verified result, how often a node accepted it, what went wrong."""

    number: int
    seconds: float
    attempts: int = 1
    node: str = ""
    problem: str | None = None


@attrs.frozen(kw_only=True)
class Summary:
    """What came of a sweep. `over_s`: the longest time by which a job exceeded its wall time, 0 if none did."""

    jobs: int
    done: int
    took_s: float
    median_s: float
    p95_s: float
    slowest_s: float
    over_s: float
    attempts: float
    nodes: int

    @classmethod
    def of(cls, ended: Sequence[Ended], *, took_s: float, wall_time_s: int) -> Summary:
        """Sum up."""
        seconds = sorted(job.seconds for job in ended)
        return cls(
            jobs=len(ended),
            done=sum(job.problem is None for job in ended),
            took_s=round(took_s, 1),
            median_s=round(statistics.median(seconds), 2),
            p95_s=round(seconds[min(int(len(seconds) * 0.95), len(seconds) - 1)], 2),
            slowest_s=round(seconds[-1], 2),
            over_s=round(max(0.0, seconds[-1] - wall_time_s), 2),
            attempts=round(statistics.mean(job.attempts for job in ended), 3),
            nodes=len({job.node for job in ended if job.node}),
        )


def settings_of(bootstrap: str) -> Config:
    """Return the configuration of a client on the loopback interface that remembers no peers on the disk."""
    return config.load(
        settings=["discovery.kademlia.allow_private=true", 'discovery.kademlia.cache=""'],
        overrides={"discovery.kademlia.bootstrap": [bootstrap]},
    )


async def sweep(
    client: AsyncClient, jobs: int, *, in_flight: int, wall_time_s: int, timeout_s: float = GIVE_UP_S
) -> list[Ended]:
    """Run so many jobs with inputs of their own, and compare each output with what it must be."""
    ended: list[Ended] = []
    numbers = iter(range(jobs))
    module = HELLO.read_bytes()

    async def run(number: int) -> Ended:
        accepted: list[Handle] = []
        text = f"job {number} of the sweep"
        began = trio.current_time()
        node, problem = "", None
        with Submission.of(module, stdin=text.encode(), wall_time_s=wall_time_s) as job:
            try:
                result = await client.run(job, timeout_s=timeout_s, placed=accepted.append)
            except PlasmError as exc:
                problem = f"{type(exc).__name__}: {exc}"
            else:
                node = str(result.receipt.node)
                if not result.ok or result.stdout != text[::-1].encode():
                    problem = f"wrong result: {result.state} {result.outcome} {result.stdout[:80]!r}"
        return Ended(
            number=number,
            seconds=trio.current_time() - began,
            attempts=len(accepted),
            node=node,
            problem=problem,
        )

    async def work() -> None:
        for number in numbers:
            ended.append(await run(number))  # noqa: PERF401 - each is there as soon as it has ended

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(work)
    return ended
