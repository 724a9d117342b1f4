"""Thirty daemons of one network, of which a third are killed: `python -m tests.network.fleet DIRECTORY`.

Each is a process of its own. Clients that know one node, which does not lend, look for one that does, before and
after ten of the thirty were killed: the one that all others began at, all that lend but one, and more at random.
Printed is how long it took a client to find a node that lends and answers, how many messages of the directory it
sent for that, and how long `plasm run` took, from its start to the verified receipt. The exit code is 1 if a client
took longer than ten seconds to find one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import trio

from plasm_core.client.node_choice import RemoteDialler
from plasm_transport_libp2p.discovery import Kademlia
from plasm_transport_libp2p.kad.directory import KademliaDirectory
from plasm_transport_libp2p.transport import Libp2pTransport
from tests.network.conftest import HELLO, LABORATORY, NETWORKED, address_of
from tests.support import processes
from tests.support.daemon import Daemon
from tests.support.litter import open_litter

DEADLINE_S = 120.0
FOUND_S = 10.0
"""In which a client is to have found a node."""
_ACQUAINTED = 4  # neighbours of each, before the nodes that lend come
_TOLD = 100  # servers, of a node that lends: ten for each of its 16 keys, were all of them to answer
_REQUESTS = ("sent_2", "sent_3")

Launch = Callable[[Daemon], int]


@attrs.frozen(kw_only=True)
class Member:
    """A node that runs."""

    daemon: Daemon
    pid: int
    lends: bool

    @property
    def address(self) -> str:
        """Where it is reached."""
        return address_of(self.daemon)

    @property
    def peer(self) -> str:
        """Who it is."""
        return self.address.rpartition("/")[2]

    def kill(self) -> None:
        """End it as a crash would."""
        os.kill(self.pid, signal.SIGKILL)


@attrs.frozen(kw_only=True)
class Looks:
    """What so many clients took to find a node that lends."""

    stage: str
    looks: int
    failed: int
    median_s: float
    p95_s: float
    slowest_s: float
    messages_median: float
    messages_p95: float


@attrs.frozen(kw_only=True)
class Runs:
    """What so many `plasm run` took."""

    stage: str
    runs: int
    median_s: float
    p95_s: float
    slowest_s: float


class Fleet:
    """The nodes, of which the first is the one that the others begin at."""

    def __init__(self, directory: Path, launch: Launch, stack: ExitStack) -> None:
        self._directory = directory
        self._launch = launch
        self._stack = stack
        self._clients = 0
        self.members: list[Member] = []

    def gather(self, nodes: int, lending: int) -> None:
        """Start the nodes that do not lend, and once these know each other, those that do."""
        begin = self._start("node-0")
        _wait(begin, lambda member: " ready peer=" in _said(member))
        reach = ("--bootstrap", begin.address)
        others = [self._start(f"node-{number}", *reach) for number in range(1, nodes - lending)]
        for member in others:
            _wait(member, lambda member: _neighbours(member) >= _ACQUAINTED)
        lenders = [self._start(f"lender-{number}", *reach, "--lend") for number in range(lending)]
        for member in lenders:
            _wait(member, lambda member: _told(member) >= _TOLD)

    def _start(self, name: str, *arguments: str) -> Member:
        home = self._directory / name
        home.mkdir(parents=True)
        daemon = self._stack.enter_context(Daemon(home, *NETWORKED, *arguments))
        member = Member(daemon=daemon, pid=self._launch(daemon), lends="--lend" in arguments)
        self.members.append(member)
        return member

    def lose(self, count: int, generator: random.Random) -> None:
        """Kill that many nodes: the bootstrap node, all lending nodes but one, and random others."""
        begin, *others = self.members
        lenders = [member for member in others if member.lends]
        rest = [member for member in others if not member.lends]
        dying = [begin, *lenders[1:]]
        dying += generator.sample(rest, count - len(dying))
        for member in dying:
            member.kill()
        self.members = [member for member in self.members if member not in dying]

    def acquaintance(self, generator: random.Random) -> str:
        """Return the address of a node that does not lend."""
        return generator.choice([member for member in self.members if not member.lends]).address

    def looks(self, stage: str, count: int, generator: random.Random) -> Looks:
        """Have so many clients look for a node that lends, one after the other."""
        results = [trio.run(_look, self.acquaintance(generator)) for _ in range(count)]
        seconds = sorted(took_s for took_s, _, _ in results)
        messages = sorted(sent for _, sent, _ in results)
        return Looks(
            stage=stage,
            looks=count,
            failed=sum(not found for _, _, found in results),
            median_s=round(statistics.median(seconds), 3),
            p95_s=_p95(seconds),
            slowest_s=seconds[-1],
            messages_median=statistics.median(messages),
            messages_p95=_p95(messages),
        )

    def run(self, generator: random.Random) -> str:
        """Have a client that nobody has seen before run a job, on whichever node it finds. Return who signed."""
        self._clients += 1
        home = self._directory / f"client-{self._clients}"
        home.mkdir()
        reach = ("--bootstrap", self.acquaintance(generator), *LABORATORY)
        with Daemon(home) as client:
            ran = client.plasm("run", *reach, "--json", str(HELLO), stdin=b"abc", check=False)
        assert ran.returncode == 0, ran.stderr.decode()
        return str(json.loads(ran.stdout)["verdict"]["signer"])

    def runs(self, stage: str, count: int, generator: random.Random) -> Runs:
        """Have so many jobs run, one after the other."""
        lending = {member.peer for member in self.members if member.lends}
        seconds = []
        for _ in range(count):
            started = time.monotonic()
            assert self.run(generator) in lending
            seconds.append(round(time.monotonic() - started, 3))
        return Runs(
            stage=stage,
            runs=count,
            median_s=round(statistics.median(seconds), 3),
            p95_s=_p95(seconds),
            slowest_s=max(seconds),
        )


async def _look(bootstrap: str) -> tuple[float, int, bool]:
    """Be a client. Return the seconds and the requests that it took to find a node that lends, and whether it did."""
    started = trio.current_time()
    discovery = Kademlia(bootstrap=(bootstrap,), allow_private=True, cache="")
    async with Libp2pTransport(listen=()).open(None, {}) as network, discovery.open(network) as directory:
        assert isinstance(directory, KademliaDirectory)
        found = await RemoteDialler(network, directory).search.candidates(enough=1)
        took_s = round(trio.current_time() - started, 3)
        return took_s, sum(directory.counters[kind] for kind in _REQUESTS), bool(found)


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]


def _said(member: Member) -> str:
    return member.daemon.log.read_text() if member.daemon.log.exists() else ""


def _neighbours(member: Member) -> int:
    return _said(member).count(" directory peer found ")


def _told(member: Member) -> int:
    """Return how many servers a node that lends has told of it, at its best attempt."""
    return max(map(int, re.findall(r" advertised classes=\d+ servers=(\d+)", _said(member))), default=0)


def _wait(member: Member, condition: Callable[[Member], bool]) -> None:
    """Wait for what a node says in its log. Raises: AssertionError, with the end of it."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition(member):
        assert processes.alive(member.pid), _said(member)[-4000:]
        assert time.monotonic() < deadline, _said(member)[-4000:]
        time.sleep(0.05)


@contextmanager
def open_fleet(directory: Path, *, fork: bool) -> Iterator[Fleet]:
    """Keep a fleet, none as yet. Its nodes are killed when the context ends.

    `fork`: have them all of one process, in which the program is loaded, and not each load it.
    """
    with ExitStack() as stack:
        launch = stack.enter_context(open_litter()).launch if fork else _launch
        yield Fleet(directory, launch, stack)


def _launch(daemon: Daemon) -> int:
    return daemon.launch().pid


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--nodes", type=int, default=30)
    parser.add_argument("--lending", type=int, default=3)
    parser.add_argument("--looks", type=int, default=40)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fork", action="store_true")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    rows: list[Looks | Runs] = []
    with open_fleet(options.directory, fork=options.fork) as fleet:
        fleet.gather(options.nodes, options.lending)
        for stage in (f"{options.nodes} nodes", f"{options.nodes // 3} of them killed"):
            if rows:
                fleet.lose(options.nodes // 3, generator)
            rows += [
                fleet.looks(stage, options.looks, generator),
                fleet.runs(stage, options.runs, generator),
            ]
    for row in rows:
        sys.stdout.write(json.dumps(attrs.asdict(row)) + "\n")
    looks = [row for row in rows if isinstance(row, Looks)]
    sys.exit(any(row.failed or row.slowest_s > FOUND_S for row in looks))


if __name__ == "__main__":
    main()
