"""Fetching the files that a job left: from its node, in windows, resumed after a broken connection."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from plasm_core.client import session
from plasm_core.client.connection import Link
from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.fetched_files import FetchedFiles, Fetching, FetchLimits
from plasm_core.client.wait_limits import LEAST_BYTES_PER_S
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import FilesNotServedError, NodeStalledError, ProtocolError, RefusedError
from plasm_core.quantities import shown_bytes
from plasm_core.records import Handle, PeerId, Receipt
from plasm_core.records.files import Product

FETCH_S = 60.0
"""How long a node may serve nothing of a file; each byte that comes buys more (`LEAST_BYTES_PER_S`)."""
_TELL_S = 0.25


async def fetch_output(
    dialler: Dialler,
    handle: Handle,
    fetching: Fetching,
    deadline: Deadline,
    watch: Watcher = silent,
) -> None:
    """Fetch one output from the node that ran its job, over several connections if need be.

    Raises: `NodeStalledError` if it comes too slowly from a node that is not this user's own; as `AsyncClient.submit`.
    """
    began = told_at = trio.current_time()

    with trio.CancelScope() as patience:

        def took() -> None:
            nonlocal told_at
            if not dialler.is_own:
                patience.deadline = began + FETCH_S + fetching.taken / LEAST_BYTES_PER_S
            if trio.current_time() >= told_at + _TELL_S:
                told_at = trio.current_time()
                watch(f"fetching {shown_bytes(fetching.taken)} of {shown_bytes(fetching.size or 0)}", None)

        async def take(data: bytes) -> None:
            await trio.to_thread.run_sync(fetching.write, data)
            took()

        async def once(link: Link, _peer: PeerId) -> None:
            await session.fetch(
                link,
                handle,
                fetching.product.path,
                offset=fetching.offset + fetching.taken,
                length=fetching.length - fetching.taken,
                begin=fetching.take_size,
                take=take,
            )

        took()
        await persist(
            dialler, FailoverState(node=handle.peer), once, deadline.left_s, "the job's files", watch
        )
    if patience.cancelled_caught:
        raise NodeStalledError(f"the node {handle.peer} has not served the job's files in time")


async def fetch_outputs(
    dialler: Dialler,
    handle: Handle,
    receipt: Receipt,
    products: Sequence[Product],
    limits: FetchLimits,
    deadline: Deadline,
    *,
    watch: Watcher = silent,
) -> FetchedFiles:
    """Fetch outputs of an ended job, and compare them with its verified receipt.

    Raises: `FilesNotServedError` if the node does not serve the outputs that its receipt states; as
    `AsyncClient.submit`.
    """
    asked = receipt.asked.files
    fetched = FetchedFiles(() if asked is None else asked.outputs)
    try:
        for product in products:
            fetching = Fetching(product, limits)
            try:
                await fetch_output(dialler, handle, fetching, deadline, watch)
                entries = await trio.to_thread.run_sync(fetching.finish)
                fetched.add(fetching, entries)
                limits = limits.less([item.entry for item in entries])
            except BaseException:
                fetching.close()
                raise
    except BaseException as exc:
        fetched.close()
        if isinstance(exc, (ProtocolError, NodeStalledError, RefusedError)):
            raise FilesNotServedError(str(exc)) from exc
        raise
    return fetched
