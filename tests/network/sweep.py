"""Many jobs by one client that lives on: `python -m tests.network.sweep DIRECTORY --by client --jobs 2000`.

`--by client`: one AsyncClient. `--by gateway`: one daemon that hands jobs on, which takes them from a client over its
socket. There are three nodes that lend, each a process of its own, and one that all begin at. Printed is how many jobs
ended with the right output and a verified receipt, and how long they took. The exit code is 1 if any did not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from plasm_core.client import open_client
from tests.network.conftest import NETWORKED, address_of
from tests.support.daemon import Daemon
from tests.support.sweeping import Ended, Summary, settings_of, sweep

NODES = 3
WALL_TIME_S = 60
LISTED = r" advertised classes=\d+ servers=[1-9]"


@contextmanager
def small_network(
    directory: Path, *, nodes: int = NODES, program: str = "plasm_core.daemon"
) -> Iterator[str]:
    """Run nodes that lend, and yield the address of one that does not, which knows them."""
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:

        def started(name: str, *arguments: str) -> Daemon:
            daemon = Daemon(_made(directory / name), *NETWORKED, *arguments, program=program, environ=path)
            stack.enter_context(daemon).launch()
            return daemon

        begin = started("begin")
        wait_for(begin, " ready peer=")
        reach = ("--lend", "--bootstrap", address_of(begin))
        for node in [started(f"node-{number}", *reach) for number in range(nodes)]:
            wait_for(node, LISTED)
        yield address_of(begin)


def wait_for(daemon: Daemon, text: str, deadline_s: float = 300.0) -> None:
    """Wait until a daemon's log has a text (a regular expression). Raises: AssertionError, with its end."""
    deadline = time.monotonic() + deadline_s
    while not (daemon.log.exists() and re.search(text, daemon.log.read_text())):
        assert daemon.process is not None
        assert daemon.process.poll() is None, daemon.said
        assert time.monotonic() < deadline, daemon.said
        time.sleep(0.05)


def _made(home: Path) -> Path:
    home.mkdir(parents=True)
    return home


async def by_client(bootstrap: str, jobs: int, in_flight: int, wall_time_s: int = WALL_TIME_S) -> list[Ended]:
    """Run the jobs by one client."""
    async with open_client(settings_of(bootstrap), transport="libp2p") as client:
        return await sweep(client, jobs, in_flight=in_flight, wall_time_s=wall_time_s)


async def by_gateway(
    gateway: Daemon, jobs: int, in_flight: int, wall_time_s: int = WALL_TIME_S
) -> list[Ended]:
    """Run the jobs by one gateway, which alone knows how many nodes accepted each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLASM_SOCKET", str(gateway.socket))
        async with open_client(gateway=True) as client:
            return await sweep(client, jobs, in_flight=in_flight, wall_time_s=wall_time_s)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--by", choices=("client", "gateway"), default="client")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--log", action="store_true")
    options = parser.parse_args()
    if options.log:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
        logging.getLogger("plasm_core").setLevel(logging.INFO)
    handed_on = 0
    with small_network(options.directory) as bootstrap:
        began = time.monotonic()
        if options.by == "client":
            ended = trio.run(by_client, bootstrap, options.jobs, options.in_flight)
        else:
            home = _made(options.directory / "gateway")
            settings = ("--bootstrap", bootstrap, "--set", "gateway.enabled=true")
            with Daemon(home, *NETWORKED, *settings) as gateway:
                gateway.start(until=" ready peer=")
                began = time.monotonic()
                ended = trio.run(by_gateway, gateway, options.jobs, options.in_flight)
                handed_on = gateway.log.read_text().count("job handed on ")
        took_s = time.monotonic() - began
    summary = Summary.of(ended, took_s=took_s, wall_time_s=WALL_TIME_S)
    if handed_on:
        summary = attrs.evolve(summary, attempts=round(handed_on / len(ended), 3))
    problems = Counter(job.problem for job in ended if job.problem)
    sys.stdout.write(
        json.dumps({"by": options.by, "in_flight": options.in_flight} | attrs.asdict(summary)) + "\n"
    )
    for problem, count in problems.most_common(20):
        sys.stdout.write(f"{count} x {problem}\n")
    sys.exit(summary.done != summary.jobs)


if __name__ == "__main__":
    main()
