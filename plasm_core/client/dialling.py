"""Reaching the node that a job is to run on, or runs on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from plasm_core import paths
from plasm_core.abc import Network
from plasm_core.assurance import Standing
from plasm_core.client.bounds import within
from plasm_core.client.conversations import greeted
from plasm_core.client.link import Link, open_link
from plasm_core.client.submission import Submission
from plasm_core.errors import (
    ConnectionLostError,
    NodeStalledError,
    PeerUnreachableError,
    ProtocolError,
)
from plasm_core.records.peer import PeerId
from plasm_core.wire import JOB_PROTOCOL

log = logging.getLogger(__name__)

DIAL_S = 5.0


class Dialler(ABC):
    """Opens conversations with nodes."""

    @property
    def route(self) -> str:
        """Where the nodes that are dialled are to run jobs: `here`, or on the `network`, as gateways."""
        return "here"

    @property
    def fails_over(self) -> bool:
        """Whether a job that one node does not take, or loses, may go to another."""
        return False

    @property
    def is_own(self) -> bool:
        """Whether the nodes are this user's own: such a one is believed which node ran a job for it."""
        return False

    @property
    def has_known_nodes(self) -> bool:
        """Whether any node that may take jobs has answered this client: then it is worth waiting for one."""
        return False

    def standing(self, signer: PeerId) -> Standing | None:
        """Return what is known of a node because of how it was reached, None if nothing is."""
        return None

    def failed(self, peer: PeerId, *, lied: bool = False) -> None:  # noqa: B027 - there may be no other
        """Remember that a node failed a job; that it `lied`: what it signed or claimed does not hold."""

    @abstractmethod
    def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
    ) -> AbstractAsyncContextManager[tuple[Link, PeerId]]:
        """Open a conversation with a peer, or with a node that is likely to take a job. Its hello has come.

        Raises: `PeerUnreachableError`, `ConnectionLostError`, `ProtocolError`.
        """


class LocalDialler(Dialler):
    """Daemons on this machine, by their sockets, in the order of docs/protocol.md, "Carriers"."""

    def __init__(
        self,
        network: Network,
        addresses: Callable[[], Sequence[str]] | None = None,
        *,
        route: str = "here",
    ) -> None:
        self._network = network
        self._route = route
        self._own: set[PeerId] = set()
        self._addresses = addresses or (lambda: [f"unix:{path}" for path in paths.sockets()])

    @property
    def route(self) -> str:
        return self._route

    @property
    def is_own(self) -> bool:
        return True

    def standing(self, signer: PeerId) -> Standing | None:
        return Standing.OWN if signer in self._own else None

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        problems, hint = [], None
        for address in self._addresses():
            try:
                with trio.fail_after(DIAL_S):
                    stream = await self._network.dial(address, JOB_PROTOCOL)
            except (PeerUnreachableError, trio.TooSlowError) as exc:
                reason = str(exc) or f"no answer within {DIAL_S:.0f} s"
                problems.append(f"{address.removeprefix('unix:')}: {reason}")
                hint = hint or getattr(exc, "hint", None)
                continue
            async with open_link(stream) as link:
                try:
                    with within(DIAL_S, None, "introduced itself"):
                        found = await greeted(link)
                except (ConnectionLostError, ProtocolError, NodeStalledError) as exc:
                    problems.append(str(exc))
                    continue
                if peer is None or found == peer:
                    self._own.add(found)
                    yield link, found
                    return
                problems.append(f"{address.removeprefix('unix:')} is another node: {found}")
        raise _unreachable(problems, peer, hint)


def _unreachable(problems: list[str], peer: PeerId | None, hint: str | None) -> PeerUnreachableError:
    if not problems:
        places = " or ".join(str(path.parent) for path in paths.places())
        return PeerUnreachableError(
            f"no daemon is running: there is no socket in {places}",
            hint="start one with: plasmd",
        )
    what = "no daemon answers" if peer is None else f"the node {peer} is not here"
    return PeerUnreachableError(
        f"{what}: {'; '.join(problems)}", hint=hint or "start the daemon with: plasmd"
    )
