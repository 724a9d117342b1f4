"""Reach a node at one of several addresses, and read its capability record."""

from __future__ import annotations

from datetime import datetime, timezone

import attrs
import trio

from plasm_core.client.dial import DIAL_S
from plasm_core.errors import PeerUnreachableError
from plasm_core.plugins.interfaces import Network, Stream
from plasm_core.protocol.single_answer import read_answer
from plasm_core.records.capabilities import MAX_CAPABILITIES_BYTES, CapabilityRecord
from plasm_core.records.peer import PeerId
from plasm_core.signing import open_record

_HEAD_START_S = 0.25
"""How long an address is tried before the next one of the same node is tried beside it."""
_RECORD_S = 5.0
_MOST_TOLD = 5
_MAX_ENVELOPE_BYTES = 2 * MAX_CAPABILITIES_BYTES


class NotThereError(PeerUnreachableError):
    """A node answered at none of its known addresses. Other peers may have reported false ones."""


async def dial_first(network: Network, peer: PeerId, addresses: tuple[str, ...], protocol: str) -> Stream:
    """Open a stream to a peer at the first address that works. Raises: `NotThereError`.

    Other peers may have reported false addresses, where packets vanish. So the next address is tried while an earlier
    one has not answered yet.
    """
    problems: list[str] = []
    opened: list[Stream] = []
    async with trio.open_nursery() as nursery:

        async def attempt(address: str, failed: trio.Event) -> None:
            try:
                with trio.fail_after(DIAL_S):
                    stream = await network.dial(address, protocol)
            except trio.TooSlowError:
                problems.append(f"no answer within {DIAL_S:.0f} s")
            except PeerUnreachableError as exc:
                problems.append(str(exc))
            else:
                if opened:
                    with trio.CancelScope(shield=True), trio.move_on_after(1):
                        await stream.aclose()
                else:
                    opened.append(stream)
                    nursery.cancel_scope.cancel()
            failed.set()

        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed)
            with trio.move_on_after(_HEAD_START_S):
                await failed.wait()
    if opened:
        return opened[0]
    raise NotThereError(f"cannot reach the node {peer}: {'; '.join(problems) or 'no address'}")


async def read_record(stream: Stream, peer: PeerId) -> CapabilityRecord:
    """Read a node's signed capability record, and close the stream.

    Raises: `PeerUnreachableError` after 5 s; `InvalidRecordError` if the record is not valid or not that node's.
    """
    try:
        with trio.fail_after(_RECORD_S):
            envelope_json = await read_answer(stream, max_bytes=_MAX_ENVELOPE_BYTES)
    except trio.TooSlowError:
        raise PeerUnreachableError("it does not tell its capabilities") from None
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await stream.aclose()
    return open_record(envelope_json, peer, now=datetime.now(timezone.utc))


@attrs.define
class Search:
    """The result of one search: its time (trio's clock), and the number of nodes found."""

    began_at: float = 0.0
    ended_at: float = 0.0
    asked: int = 0
    silent: int = 0
    good: int = 0
    refused: dict[str, int] = attrs.field(factory=dict)

    def __str__(self) -> str:
        told = [f"{self.asked} asked within {self.ended_at - self.began_at:.1f} s"]
        if self.silent:
            told.append(f"{self.silent} did not answer")
        told += [f"{count} cannot: {reason}" for reason, count in list(self.refused.items())[:_MOST_TOLD]]
        return "; ".join(told)
