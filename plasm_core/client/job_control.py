"""Requests about a submitted job: its status, its end, its output so far, cancelling it and releasing it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

import trio

from plasm_core.client import session
from plasm_core.client.connection import Link
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.output import Sink
from plasm_core.client.session import Following
from plasm_core.client.watcher import Watcher
from plasm_core.errors import PlasmError, WaitTimeoutError
from plasm_core.protocol.messages import AskStatus, Cancel, Release, Status
from plasm_core.records import Handle, PeerId

_WITHDRAW_S = 2.0
_PEEK_S = 30.0
"""How long a node may send nothing of the output that it has."""
_STATUSES_AT_ONCE = 16
"""How many jobs are asked about at once: each request uses a connection."""


async def ask_about(
    dialler: Dialler,
    handle: Handle,
    kind: type[AskStatus | Cancel | Release],
    timeout_s: float | None,
    what: str,
) -> Status:
    """Send one request about a job, and return the status that the node answers with.

    `what`: what the client waits for, for the error. Raises: as `AsyncClient.submit`.
    """

    async def once(link: Link, _peer: PeerId) -> Status:
        question = kind(job_id=handle.job_id, token=handle.token().hex())
        return session.status_of(await session.ask(link, question))

    return await persist(dialler, FailoverState(node=handle.peer), once, timeout_s, what)


async def ask_about_many(
    dialler: Dialler, handles: Sequence[Handle], timeout_s: float
) -> list[Status | PlasmError]:
    """Return the status of each job, or the error in its place, in the order of the handles.

    The jobs are asked about concurrently, with one deadline for all.
    """
    found: list[Status | PlasmError] = [
        WaitTimeoutError(f"no answer within {timeout_s:g} s: waiting for the job's status") for _ in handles
    ]
    places = trio.CapacityLimiter(_STATUSES_AT_ONCE)

    async def ask(index: int, handle: Handle) -> None:
        async with places:
            try:
                found[index] = await ask_about(dialler, handle, AskStatus, None, "the job's status")
            except PlasmError as exc:
                found[index] = exc

    with trio.move_on_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for index, handle in enumerate(handles):
                nursery.start_soon(ask, index, handle)
    return found


async def wait_for_end(dialler: Dialler, handle: Handle, timeout_s: float | None, watch: Watcher) -> Status:
    """Wait until a job has ended, without receiving its output. Raises: as `AsyncClient.submit`."""

    async def once(link: Link, _peer: PeerId) -> Status:
        status = await session.attach(link, handle, Following(), outputs=())
        watch(status.state, status)
        return await session.ended(link, status, watch=watch)

    return await persist(dialler, FailoverState(node=handle.peer), once, timeout_s, "the job to end", watch)


async def copy_output_so_far(
    dialler: Dialler, handle: Handle, sink: Sink, timeout_s: float | None, output_bytes: int | None
) -> Status:
    """Copy the output that a job has written so far, and return the job's status.

    `timeout_s`: None to wait as long as output arrives, at most 30 s for each piece. `output_bytes`: the limit of the
    job's output, None if unknown.
    Raises: as `AsyncClient.submit`; what the sink raises.
    """
    following = Following()
    what = "the job's output so far"
    with trio.move_on_after(_PEEK_S if timeout_s is None else float("inf")) as silence:

        def came() -> None:
            if timeout_s is None:
                silence.deadline = trio.current_time() + _PEEK_S

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await session.attach(link, handle, following)
            await session.catch_up(link, status, following, sink, output_bytes=output_bytes, came=came)
            return status

        return await persist(dialler, FailoverState(node=handle.peer), once, timeout_s, what)
    raise WaitTimeoutError(f"after {_PEEK_S:g} s without a word still waiting for {what}")


async def withdraw(dialler: Dialler, handles: Collection[Handle]) -> None:
    """Cancel a job at the nodes where it still waits. Nodes that do not answer within two seconds are left alone."""
    if not handles:
        return

    async def cancel(handle: Handle) -> None:
        with contextlib.suppress(PlasmError):
            await ask_about(dialler, handle, Cancel, _WITHDRAW_S, "the job to be cancelled")

    with trio.move_on_after(_WITHDRAW_S):
        async with trio.open_nursery() as nursery:
            for handle in handles:
                nursery.start_soon(cancel, handle)
