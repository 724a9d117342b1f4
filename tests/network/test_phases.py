"""What a stranger is told while a node takes a job: nothing of what others had it run before."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio

from plasm_core import config
from plasm_core.client import AsyncClient, Submission, open_client
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle
from tests.network.conftest import Starter, address_of
from tests.support.daemon import Daemon
from tests.support.wat import writing

PHASES = ("checking", "compiling")


@pytest.fixture(scope="module")
def lender(start: Starter, bootstrap: str) -> Daemon:
    """A node that lends."""
    return start("lender", "--lend", "--bootstrap", bootstrap)


async def _as_a_stranger(address: str, work: Callable[[AsyncClient], object]) -> list[str]:
    """Do something as a client with a fresh identity, and return the phases that it is told."""
    settings = config.load(settings=("discovery.kademlia.allow_private=true",))
    async with open_client(settings, transport="libp2p", peer=address) as client:
        return await work(client)  # type: ignore[misc,no-any-return]


def phases_told(address: str, module: bytes, *, runs: bool = True) -> list[str]:
    told: list[str] = []

    def watch(phase: str, _status: Status | None) -> None:
        if phase in PHASES:
            told.append(phase)

    async def work(client: AsyncClient) -> list[str]:
        with Submission.of(module) as job:
            if runs:
                await client.run(job, watch=watch, timeout_s=60)
            else:
                handle: Handle = await client.submit(job, watch=watch, timeout_s=60)
                await client.cancel(handle)
        return told

    return trio.run(_as_a_stranger, address, work)


def test_each_stranger_gets_the_same_phases(lender: Daemon) -> None:
    """The first has the module checked and compiled; the others' jobs find it done, also from the daemon's user."""
    address = address_of(lender)
    theirs, own = (writing(os.urandom(8).hex().encode()) for _ in range(2))
    path = lender.home / "own.wasm"
    path.write_bytes(own)
    lender.plasm("submit", str(path))

    assert phases_told(address, theirs) == list(PHASES)
    assert phases_told(address, theirs) == list(PHASES)
    assert phases_told(address, theirs, runs=False) == list(PHASES)
    assert phases_told(address, own) == list(PHASES)
