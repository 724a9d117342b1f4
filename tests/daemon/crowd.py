"""Many clients with many jobs at one daemon: `python -m tests.daemon.crowd DIRECTORY --jobs 1000 --clients 50`.

All jobs are handed in while others hold the machine; then a client of another user comes with one job; then
all clients follow all jobs. Printed is how long that took, the daemon's memory, and when the latecomer was
served. Run it as root: the other user is `nobody`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path

import attrs
import trio

from plasm_core.client import AsyncClient, Submission, open_client
from plasm_core.protocol.messages import NOTHING
from plasm_core.records import Handle, Limits
from tests.daemon.conftest import HELLO
from tests.support import processes
from tests.support.conversing import Caller, accept, dial_as
from tests.support.daemon import Daemon
from tests.support.users import NOBODY
from tests.support.wat import FOREVER, starting

CPU = 2
TIMEOUT_S = 600.0


@attrs.define
class Crowd:
    """The daemon, its clients' jobs, and what was measured."""

    daemon: Daemon
    clients: int
    jobs: int
    handles: dict[str, tuple[Handle, bytes]] = attrs.field(factory=dict)
    finished: list[datetime] = attrs.field(factory=list)
    peak_bytes: int = 0
    report: dict[str, object] = attrs.field(factory=dict)

    @property
    def resident_bytes(self) -> int:
        """The daemon's memory now."""
        assert self.daemon.process is not None
        return processes.resident_bytes(self.daemon.process.pid)

    async def watch(self) -> None:
        """Sample the daemon's memory, for ever."""
        while True:
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
            await trio.sleep(0.2)

    async def hand_in(self, client: AsyncClient, number: int) -> None:
        """Be one of the clients: hand in its share."""
        for turn in range(self.jobs // self.clients):
            text = f"job {turn} of client {number}"
            with Submission.of(HELLO, stdin=text.encode()) as job:
                handle = await client.submit(job, timeout_s=TIMEOUT_S)
            self.handles[handle.job_id] = handle, text[::-1].encode()

    async def follow(self, client: AsyncClient, share: list[tuple[Handle, bytes]]) -> None:
        """Be one of the clients: wait for the results of its share."""
        for handle, expected in share:
            result = await client.result(handle, timeout_s=TIMEOUT_S)
            assert result.stdout == expected
            self.finished.append(result.receipt.claims.finished_at)

    async def run(self) -> None:
        """Do it all."""
        async with open_client() as client, trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            blocking = [await client.submit(_endless(), timeout_s=60) for _ in range(CPU)]
            before_bytes = self.resident_bytes
            await self._all(lambda number, each: each.start_soon(self.hand_in, client, number))
            queued_bytes = self.resident_bytes
            late = Submission.of(HELLO.read_bytes(), stdin=b"late")
            with Caller(dial_as(NOBODY, self.daemon.socket)) as caller:
                latecomer = await trio.to_thread.run_sync(accept, caller, late, NOTHING)
            position = (await client.status(latecomer)).position
            for handle in blocking:
                await client.cancel(handle)
            shares = [list(self.handles.values())[number :: self.clients] for number in range(self.clients)]
            await self._all(lambda number, each: each.start_soon(self.follow, client, shares[number]))
            served_at = (await client.result(latecomer)).receipt.claims.finished_at
            nursery.cancel_scope.cancel()
        self.report |= {
            "served": len(self.finished),
            "latecomer_position": position,
            "ended_before_latecomer": sum(moment < served_at for moment in self.finished),
            "rss_mib_before": before_bytes >> 20,
            "rss_mib_all_queued": queued_bytes >> 20,
            "rss_mib_peak": self.peak_bytes >> 20,
        }

    async def _all(self, start: object) -> None:
        began = time.monotonic()
        async with trio.open_nursery() as each:
            for number in range(self.clients):
                start(number, each)  # type: ignore[operator]
        name = "handing_in_s" if "handing_in_s" not in self.report else "following_s"
        self.report[name] = round(time.monotonic() - began, 1)


def _endless() -> Submission:
    limits = Limits(gas=10**15, memory_bytes=1 << 20, output_bytes=1 << 20)
    return Submission.of(starting(FOREVER), limits=limits, wall_time_s=3600)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    settings = (f"limits.cpu={CPU}", "transport.local.mode=0666")
    with Daemon(options.directory, *(word for item in settings for word in ("--set", item))) as daemon:
        daemon.socket.parent.chmod(0o711)
        daemon.start()
        os.environ["PLASM_SOCKET"] = str(daemon.socket)
        crowd = Crowd(daemon, options.clients, options.jobs)
        trio.run(crowd.run)
        log = daemon.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
        assert daemon.terminate() == 0
    sys.stdout.write(json.dumps({"jobs": options.jobs, "clients": options.clients, **crowd.report}) + "\n")


if __name__ == "__main__":
    main()
