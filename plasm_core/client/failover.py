"""Retry a job after a failure: on the same node while that is safe, otherwise on another node."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import trio

from plasm_core.client.connection import Link
from plasm_core.client.dial import DIAL_S, DaemonAwayError, DaemonSilentError, Dialler
from plasm_core.client.submission import Submission
from plasm_core.client.wait_limits import share_after
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import (
    ConnectionLostError,
    FilesNotServedError,
    NodeStalledError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
    ReceiptRejectedError,
    RefusedError,
    TransportError,
    WaitTimeoutError,
)
from plasm_core.protocol.messages import Result
from plasm_core.randomness import RANDOM
from plasm_core.records import Handle, PeerId

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_PATIENCE_S = 15.0
"""How long a node that has the job may be away before another gets it, where there are others."""
_PATIENCE_WITH_LIARS_S = 20.0
"""How long honest nodes are looked for where every node that is known has lied, and none may be asked again."""
_SILENCE_S = 60.0
"""How long a daemon of this machine that says nothing is asked again; for a job, its wall time at least."""
_WORTH_ASKING_AGAIN = frozenset({"queue_full", "storage_full", "too_many_offers", "shutting_down"})
MAX_NODES = 16
"""How many nodes may fail one job. Anybody can make many keys, and must not be able to delay a client without end."""
_BROKEN_BEFORE_ACCEPTED = 2
"""How often an upload that broke off goes on at the same node, where another could have the job."""


class NodeFailedError(PlasmError):
    """A node failed the job, or `lied`: its receipt or its statements about the job are false.

    `failed` is the handle at that node, `end` the result that it sent.
    """

    def __init__(self, message: str, handle: Handle, end: Result, *, lied: bool = False) -> None:
        super().__init__(message)
        self.failed = handle
        self.end = end
        self.lied = lied


@attrs.define
class FailoverState:
    """Which node to use: a given one, or any that accepts the job and has not failed it.

    `patience_s`: seconds to wait for a node when none is left, if any was ever known; None: the job's wall time.
    `waits`: wait also if no node was ever known, as a gateway does.
    """

    job: Submission | None = None
    node: PeerId | None = None
    avoid: set[PeerId | str] = attrs.field(factory=set)
    patience_s: float | None = None
    waits: bool = False
    last: PeerId | None = None
    best_reason: PlasmError | None = None
    delays: int = 0
    """How many nodes in turn have kept the job waiting or were lost with it (`wait_limits.share_after`)."""
    left_at: dict[PeerId, float] = attrs.field(factory=dict)
    """Nodes that have the job, or may take it later, and from when on they may be asked again."""
    _given_up: set[PeerId] = attrs.field(factory=set)
    _reached_at: float = 0.0
    _broken: int = 0
    _none_since: float | None = None
    _silent_since: float | None = None
    _final: bool = True
    _lied: bool = False

    @contextmanager
    def talking_to(self, peer: PeerId) -> Iterator[None]:
        """Record that a node answers, until the context ends."""
        self.last = peer
        if peer not in self._given_up:
            self._none_since = None
        try:
            yield
        finally:
            self._reached_at = trio.current_time()

    def has_been_away_for(self, seconds: float) -> bool:
        """Return whether the node has been silent for that many seconds."""
        return trio.current_time() - self._reached_at >= seconds

    def is_silent_for_too_long(self) -> bool:
        """Record that a daemon of this machine did not answer. Return whether the client should give it up."""
        now = trio.current_time()
        self._silent_since = now - DIAL_S if self._silent_since is None else self._silent_since
        wall_time_s = self.job.manifest.wall_time_s if self.job is not None else 0
        return now - self._silent_since >= max(_SILENCE_S, wall_time_s)

    def breaks_before_accepting(self) -> bool:
        """Return whether the connection broke again before the node took the job."""
        if self.node is not None:
            return False
        self._broken += 1
        return self._broken > _BROKEN_BEFORE_ACCEPTED

    def pass_on(self, reason: PlasmError, *, again_in_s: float | None = None) -> bool:
        """Exclude the node for this job. Return whether there may be another.

        `again_in_s`: seconds after which the node may be asked again, if no other node takes the job.
        """
        if self.job is None or self.last is None:
            return False
        log.info("trying another node node=%s reason=%s", self.last, reason)
        self.avoid.add(self.last)
        if not isinstance(reason, RefusedError) or again_in_s is None:
            self._given_up.add(self.last)
        if isinstance(reason, (NodeStalledError, ConnectionLostError, PeerUnreachableError)):
            self.delays += 1
        if again_in_s is not None:
            self.left_at[self.last] = trio.current_time() + again_in_s
        if not isinstance(reason, RefusedError):
            self._final = False
            self._lied = self._lied or _is_lie(reason) or _is_own_failure(reason)
        self.best_reason = reason
        self.node = self.last = None
        self._broken = 0
        return len(self._given_up) < MAX_NODES

    def none_is_left(self, pauses: Iterator[float], *, has_known: bool) -> float | None:
        """Return the seconds to pause before another search; None if the client must not wait any longer.

        Nodes where the job was left waiting become candidates again.
        """
        now = trio.current_time()
        self._none_since = now if self._none_since is None else self._none_since
        if self.job is None:
            return None
        if self.best_reason is None and not has_known and not self.waits:
            return None
        if not self.left_at and self.best_reason is not None and self._final:
            return None  # each node refused or failed the job itself, and would again
        patience_s = self.patience_s
        if patience_s is None:
            patience_s = float(self.job.manifest.wall_time_s)
            if self._lied and not self.left_at:
                patience_s = min(patience_s, _PATIENCE_WITH_LIARS_S)
        if now - self._none_since >= patience_s:
            return None
        due = [peer for peer, moment in self.left_at.items() if moment <= now]
        for peer in due:
            del self.left_at[peer]
            self.avoid.discard(peer)
        if due:
            self.delays = 0  # the nodes may be busy: each gets its full timeout now
            return 0.0
        until = min(self.left_at.values(), default=now + _LONGEST_PAUSE_S) - now
        return min(next(pauses), max(0.05, until))


def _is_own_failure(reason: PlasmError) -> bool:
    return isinstance(reason, NodeFailedError) and not reason.lied


def _is_lie(reason: Exception) -> bool:
    """Return whether a node said or signed what does not hold, or broke the protocol."""
    if isinstance(reason, NodeFailedError):
        return reason.lied
    return isinstance(reason, (ProtocolError, ReceiptRejectedError, FilesNotServedError))


async def persist(
    dialler: Dialler,
    choice: FailoverState,
    once: Callable[[Link, PeerId], Awaitable[T]],
    timeout_s: float | None,
    what: str,
    watch: Watcher = silent,
) -> T:
    """Call `once` with a conversation until it succeeds or the time is over; retry after errors that permit it."""
    problem: Exception | None = None
    pauses = _pauses()
    began = trio.current_time()
    with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
        while True:
            try:
                async with dialler.converse(choice.node, job=choice.job, avoid=choice.avoid) as (
                    link,
                    peer,
                ):
                    with choice.talking_to(peer):
                        return await once(link, peer)
            except PlasmError as exc:
                problem = exc
                pause = _pause(dialler, exc, choice, pauses, watch)
            if not pause:
                pauses = _pauses()  # another node follows, and its pauses start short
            log.info("asking again reason=%s pause_s=%.1f", problem, pause)
            await trio.sleep(pause)
    problem = dialler.problem or problem
    after = f"after {trio.current_time() - began:.0f} s still waiting for {what}"
    raise WaitTimeoutError(f"{after}: {problem}" if problem else after) from problem


def give_up(dialler: Dialler, choice: FailoverState, exc: PlasmError) -> bool:
    """Record that a node failed the job. Return whether another node may have it.

    Later jobs of this client avoid a node with recent failures.
    """
    if choice.last is not None and not isinstance(exc, RefusedError):
        dialler.failed(choice.last, lied=_is_lie(exc))
    if not dialler.fails_over:
        return False
    if isinstance(exc, RefusedError):
        return choice.pass_on(exc, again_in_s=exc.retry_after_s)
    again = 0.0 if isinstance(exc, (NodeStalledError, ConnectionLostError)) else None
    return choice.pass_on(exc, again_in_s=again)


def _check_descriptors(exc: PlasmError) -> None:
    """Raise `TransportError` if this process could open no file: no wait and no other node mends that."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            raise TransportError(
                f"this process can open no more files: {cause.strerror}",
                hint="raise the limit of open files, as with: ulimit -n 4096",
            ) from exc
        cause = cause.__cause__ or cause.__context__


def _pause(
    dialler: Dialler, exc: PlasmError, choice: FailoverState, pauses: Iterator[float], watch: Watcher
) -> float:
    """Return how long to wait before another try, at another node perhaps.

    Raises: the error, if none may help.
    """
    _check_descriptors(exc)
    if isinstance(exc, RefusedError):
        if give_up(dialler, choice, exc):
            return 0.0
        if exc.reason not in _WORTH_ASKING_AGAIN or exc.retry_after_s is None or dialler.fails_over:
            raise exc
        watch(f"{exc}, asking again", None)
        return max(next(pauses), min(exc.retry_after_s, _LONGEST_PAUSE_S))
    if isinstance(exc, (NodeFailedError, ProtocolError)):
        if not give_up(dialler, choice, exc):
            raise exc
        return 0.0
    if isinstance(exc, (DaemonSilentError, DaemonAwayError)):
        if choice.last is None and choice.is_silent_for_too_long():
            raise exc
        watch("the daemon does not answer, asking again", None)
        return next(pauses)
    if isinstance(exc, NodeStalledError):
        if give_up(dialler, choice, exc):
            return 0.0
        if not dialler.is_own:
            raise exc
        return next(pauses)
    if isinstance(exc, PeerUnreachableError):
        if choice.last is None:
            pause = choice.none_is_left(pauses, has_known=dialler.has_known_nodes)
            if pause is None:
                raise choice.best_reason or exc
            return pause
    elif not isinstance(exc, ConnectionLostError):
        raise exc
    if dialler.fails_over and (
        choice.has_been_away_for(_PATIENCE_S * share_after(choice.delays))
        or (isinstance(exc, ConnectionLostError) and choice.breaks_before_accepting())
    ):
        give_up(dialler, choice, exc)
        return 0.0
    return next(pauses)


def _pauses() -> Iterator[float]:
    """Yield pauses in seconds that double up to a bound, each drawn at random from its upper half."""
    pause = _FIRST_PAUSE_S
    while True:
        yield RANDOM.uniform(pause / 2, pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
