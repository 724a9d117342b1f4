"""Open a session with the node that a job runs on, or will run on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio

from plasm_core import paths
from plasm_core.assurance import Standing
from plasm_core.client.connection import Link, open_link
from plasm_core.client.kept_streams import KeptStreams
from plasm_core.client.session import greeted
from plasm_core.client.start_patience import StartPatience
from plasm_core.client.submission import Submission
from plasm_core.client.wait_limits import within
from plasm_core.errors import (
    ConnectionLostError,
    NodeStalledError,
    PeerUnreachableError,
    ProtocolError,
)
from plasm_core.plugins.interfaces import Network
from plasm_core.protocol import JOB_PROTOCOL
from plasm_core.records.history import NodeHistory
from plasm_core.records.peer import PeerId
from plasm_core.start_hint import start_hint

log = logging.getLogger(__name__)

DIAL_S = 5.0


class DaemonSilentError(NodeStalledError):
    """A daemon of this machine accepted the connection but does not answer: it is busy, or stopped."""


class DaemonAwayError(PeerUnreachableError):
    """A daemon of this machine that has answered this client before is not there: it may be restarting."""


class Dialler(ABC):
    """Opens conversations with nodes: with the daemon of this machine, or with nodes of a network.

    While `kept` is open, streams stay open for another conversation.
    """

    def __init__(self) -> None:
        self.kept = KeptStreams()

    @property
    def route(self) -> str:
        """Where the dialled nodes run the job: `here`, or on the `network`, as gateways do."""
        return "here"

    @property
    def fails_over(self) -> bool:
        """Whether a job may go to another node after one has refused or lost it."""
        return False

    @property
    def is_own(self) -> bool:
        """If true, the node is this user's own, and its statement of which node ran a job is trusted."""
        return False

    problem: PeerUnreachableError | None = None
    """Why the daemon that is waited for cannot be used so far."""

    @property
    def has_known_nodes(self) -> bool:
        """Whether any node that may run jobs has answered this client: only then does the client wait for one."""
        return False

    def standing(self, signer: PeerId) -> Standing | None:
        """Return a node's standing if the way it was reached determines it, else None."""
        return None

    def failed(self, peer: PeerId, *, lied: bool = False) -> None:  # noqa: B027 - there may be no other
        """Record that a node failed a job. `lied`: its receipt or claim was false."""

    def succeeded(self, peer: PeerId) -> None:  # noqa: B027 - there may be no other
        """Record that a node did a job: its receipt was verified."""

    def histories(self) -> list[NodeHistory]:
        """Return the histories of the nodes that may get the next job, the likeliest first; empty if no node is
        known.
        """
        return []

    def network_of(self, peer: PeerId) -> str | None:
        """Return the network of a node, a keyed hash of its /24 or /48; None if it is not known."""
        return None

    def others(self) -> Dialler:
        """Return the dialler for nodes other than the one that this dialler is bound to, if it is bound to one."""
        return self

    @asynccontextmanager
    async def apart(self, *, at_random: bool = False) -> AsyncIterator[Dialler]:
        """Give a dialler that reaches other nodes under another identity, if there can be one, until the context ends.

        `at_random`: it draws the nodes, instead of the nearest.
        """
        yield self.others()

    def shuns(self, peer: PeerId) -> bool:
        """Return whether a node gets no jobs: a fraud proof names it."""
        return False

    @abstractmethod
    def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AbstractAsyncContextManager[tuple[Link, PeerId]]:
        """Open a conversation with a peer, or with a node that is likely to accept the job.

        `avoid`: nodes and networks that the conversation is not opened with. The node's `hello` has arrived.

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
        super().__init__()
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
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        patience = StartPatience()
        while True:
            problems, hint, silent, answered = [], None, False, False
            for address in self._addresses():
                kept = await self.kept.take(address, peer)
                if kept is not None:
                    async with self.kept.converse(kept) as link:
                        yield link, kept.peer
                    return
                try:
                    with trio.fail_after(DIAL_S):
                        stream = await self._network.dial(address, JOB_PROTOCOL)
                except trio.TooSlowError:
                    silent = True
                    problems.append(f"{address.removeprefix('unix:')}: no answer within {DIAL_S:.0f} s")
                    continue
                except PeerUnreachableError as exc:
                    problems.append(f"{address.removeprefix('unix:')}: {exc}")
                    hint = hint or exc.hint
                    continue
                async with open_link(stream, heartbeats=self.kept.heartbeats) as link:
                    try:
                        with within(DIAL_S, None, "introduced itself"):
                            found = await greeted(link)
                    except (ConnectionLostError, ProtocolError, NodeStalledError) as exc:
                        silent, answered = silent or isinstance(exc, NodeStalledError), True
                        problems.append(f"{address.removeprefix('unix:')}: {exc}")
                        continue
                    if peer is None or found == peer:
                        self.problem = None
                        self._own.add(found)
                        link.keep = partial(self.kept.put, address, link, found)
                        yield link, found
                        return
                    answered = True
                    problems.append(f"{address.removeprefix('unix:')} is another node: {found}")
            if silent:
                raise DaemonSilentError(
                    f"the daemon does not answer: {'; '.join(problems)}",
                    hint="it may be busy or stopped: see its log, or start it again",
                )
            is_away = not answered and (peer in self._own or (peer is None and self._own))
            error = DaemonAwayError if is_away else PeerUnreachableError
            self.problem = _unreachable(error, problems, peer, hint)
            if is_away or not await patience.goes_on(answered=answered):
                raise self.problem


def _unreachable(
    error: type[PeerUnreachableError], problems: list[str], peer: PeerId | None, hint: str | None
) -> PeerUnreachableError:
    if not problems:
        places = " or ".join(map(str, paths.places()))
        return error(
            f"no daemon is running: there is no socket in {places}",
            hint=start_hint(),
        )
    what = "no daemon answers" if peer is None else f"the node {peer} is not here"
    return error(f"{what}: {'; '.join(problems)}", hint=hint or start_hint())
