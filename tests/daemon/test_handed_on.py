"""Jobs that a gateway hands on take nothing from those that run here, and one user leaves places for others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from plasm_core import config as configuration
from plasm_core.client import session
from plasm_core.client.connection import open_link
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Submission
from plasm_core.daemon.gateway import Gateway, GatewayCancelledError
from plasm_core.daemon.service import Service, open_service
from plasm_core.daemon.session import Session
from plasm_core.daemon.store import Store
from plasm_core.local_node import LocalNode
from plasm_core.records import job_id
from plasm_core.records.job import JobState
from tests.daemon.conftest import HELLO
from tests.daemon.test_policy import Wire
from tests.support.daemon import Daemon
from tests.support.wat import padded

OPERATOR, USER, OTHER = "local", "user 4321", "user 4322"
NOBODY_THERE = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h"


class Waiting(Gateway):
    """A gateway that finds no node: its jobs wait until they are cancelled."""

    def __init__(self) -> None:
        self.under_way = 0

    def run(self, *_: Any, cancelled: Any, begun: Callable[[], object], **__: Any) -> JobResult:
        self.under_way += 1
        cancelled.wait()
        raise GatewayCancelledError("cancelled")


@asynccontextmanager
async def handing_on(homes: Path, *settings: str) -> AsyncIterator[tuple[Service, Waiting]]:
    config = configuration.load(settings=("limits.cpu=1", *settings), environ={})
    gateway = Waiting()
    with LocalNode(config) as node, Store(homes / "store", config.storage) as store:
        async with open_service(node, store, gateway=gateway) as service:
            yield service, gateway
            for track in list(service.jobs.tracks.values()):
                await service.cancel(track.job)


async def submit(service: Service, number: int, route: str, group: str = OPERATOR) -> str:
    """Hand a job in as a user of this machine. Return its id."""
    job = Submission.of(HELLO.read_bytes(), stdin=b"%d" % number)
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Session(service, Wire(theirs, None, group)).serve)
        async with open_link(Wire(ours, service.peer, "node")) as link:
            await session.submit(link, job, await session.greeted(link), follow=False, route=route)
    return job_id(job.manifest_json)


async def ended(service: Service, job: str) -> None:
    with trio.fail_after(60):
        while tracks := [track for track in service.jobs.tracks.values() if track.job.job_id == job]:
            await tracks[0].news.after(tracks[0].news.count)


async def settled(service: Service, gateway: Waiting, count: int) -> None:
    """Wait until so many jobs are with the gateway, and the service has looked for more."""
    with trio.fail_after(60):
        while gateway.under_way < count:  # noqa: ASYNC110 - threads count
            await trio.sleep(0.02)
    for _ in range(3):
        service.jobs.wake()
        await trio.testing.wait_all_tasks_blocked(0.05)


@pytest.mark.trio
@pytest.mark.parametrize("places", [1, 40])
async def test_jobs_for_the_network_delay_no_local_job(homes: Path, places: int) -> None:
    """Each held a thread while it waited, of ten in all: a job of this machine stayed in the queue for days."""
    async with handing_on(homes, f"gateway.jobs={places}") as (service, gateway):
        for number in range(20):
            await submit(service, number, "network")
        await settled(service, gateway, min(places, 20))

        await ended(service, await submit(service, 99, "here"))

        assert gateway.under_way == min(places, 20)


@pytest.mark.trio
async def test_one_user_leaves_places_at_the_gateway_for_another(homes: Path) -> None:
    async with handing_on(homes, "gateway.jobs=10") as (service, gateway):
        for number in range(20):
            await submit(service, number, "network", USER)
        await settled(service, gateway, 8)
        taken = gateway.under_way
        other = await submit(service, 50, "network", OTHER)
        await settled(service, gateway, taken + 1)

        states = {job.job_id: job.state for job in service.jobs.in_order()}
        assert (taken, gateway.under_way) == (8, 9)
        assert states[other] is not JobState.QUEUED


@pytest.mark.trio
async def test_a_place_that_a_job_gives_back_is_the_next_ones(homes: Path) -> None:
    async with handing_on(homes, "gateway.jobs=1") as (service, gateway):
        first = await submit(service, 1, "network")
        await submit(service, 2, "network")
        await settled(service, gateway, 1)
        (track,) = (track for track in service.jobs.tracks.values() if track.job.job_id == first)

        await service.cancel(track.job)
        await settled(service, gateway, 2)

        assert [job.job_id for job in service.jobs.in_order()] != [first]


def peak_bytes(daemon: Daemon) -> int:
    """Return the most memory that the daemon has had so far."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells no peak of memory")
def test_the_modules_of_jobs_at_other_nodes_are_not_in_memory(tmp_path: Path) -> None:
    """A module may have 128 MiB, and 64 jobs be at other nodes at once."""
    module, size = tmp_path / "large.wasm", 24 << 20
    module.write_bytes(padded(HELLO.read_bytes(), size))
    with Daemon(tmp_path, "--gateway", "--bootstrap", NOBODY_THERE, "--set", "gateway.jobs=8") as daemon:
        daemon.start()
        daemon.plasm("submit", "--gateway", str(module))
        before = peak_bytes(daemon)
        for number in range(7):
            daemon.plasm("submit", "--gateway", "--env", f"N={number}", str(module))

        assert "plasm_jobs_running 8" in daemon.plasm("metrics").stdout.decode()
        assert peak_bytes(daemon) - before < 4 * size
