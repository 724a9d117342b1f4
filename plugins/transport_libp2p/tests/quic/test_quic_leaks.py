"""A connection that has ended leaves nothing: no task, no descriptor, no memory."""

from __future__ import annotations

import contextlib
import gc
import os
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio
from trio._core import _run

from tests.support.quic import LISTEN, ask, running, until

pytestmark = pytest.mark.trio

CONNECTIONS = int(os.environ.get("PLASM_QUIC_CONNECTIONS", "100"))
SLACK_BYTES = 4_000_000
"""What the allocator may keep. py-libp2p's own transport keeps 10 MB of 100 connections."""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def forget_past_deadlines() -> None:
    """Have trio drop the scopes that have ended: it keeps up to 1,000, if one that goes on has an earlier deadline.

    That of this test has where the test takes half a minute, and two scopes of each connection would be counted.
    """
    _run.GLOBAL_RUN_CONTEXT.runner.deadlines._prune()


def descriptors() -> Counter[str]:
    """Return what the open descriptors lead to: a socket has a number of its own."""
    found: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one of this listing
            found[os.readlink(path)] += 1
    return found


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to read")
async def test_connections_that_ended_leave_nothing() -> None:
    """PLASM_QUIC_CONNECTIONS=1000 runs the long form."""
    async with running(LISTEN) as node, running() as client:

        async def one() -> None:
            connection = await client.transport.dial(node.address)
            assert await ask(connection, b"x" * 1000) == b"x" * 1000
            await connection.close()
            node.accepted.clear()

        async def settled() -> tuple[int, Counter[str]]:
            (inbound,), (outbound,) = node.transport._listening, client.transport._dial_locks.values()
            await until(lambda: inbound.connections == outbound.connections == 0)
            forget_past_deadlines()
            gc.collect()
            return trio.lowlevel.current_statistics().tasks_living, descriptors()

        for _ in range(20):
            await one()
        (tasks, before), objects, memory = await settled(), len(gc.get_objects()), resident_bytes()
        for _ in range(CONNECTIONS):
            await one()
        (more_tasks, after), more_objects = await settled(), len(gc.get_objects())
        more_memory = resident_bytes()

    assert more_tasks == tasks
    assert not after - before  # what other tests had left open may be closed meanwhile
    assert more_objects - objects < CONNECTIONS
    assert more_memory - memory < SLACK_BYTES + 1_000 * CONNECTIONS
    assert node.transport._admission.connections == 0
    assert not node.transport._admission._per_prefix
