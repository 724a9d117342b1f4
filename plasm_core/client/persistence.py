"""Trying again: at the same node while that is safe, at another one where there are others."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import trio

from plasm_core.client.dialling import Dialler
from plasm_core.client.link import Link
from plasm_core.client.submission import Submission
from plasm_core.errors import (
    ConnectionLostError,
    PeerUnreachableError,
    PlasmError,
    RefusedError,
    WaitTimeoutError,
)
from plasm_core.records import Handle, PeerId
from plasm_core.wire.messages import Result

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_PATIENCE_S = 15.0
"""How long a node that has the job may be away before another gets it, where there are others."""
_SEARCHES = 5
_LOST = (ConnectionLostError, PeerUnreachableError)
_WORTH_ASKING_AGAIN = frozenset({"queue_full", "storage_full", "too_many_offers", "shutting_down"})


class NodeFailedError(PlasmError):
    """A node gave a job up as its own fault. `handle` and `end` are what it gave."""

    def __init__(self, message: str, handle: Handle, end: Result) -> None:
        super().__init__(message)
        self.handle = handle
        self.end = end


@attrs.define
class Choice:
    """Which node to talk to: a certain one, or whichever takes a job and has not failed it before."""

    job: Submission | None = None
    node: PeerId | None = None
    avoid: set[PeerId] = attrs.field(factory=set)
    last: PeerId | None = None
    best_reason: PlasmError | None = None
    _reached_at: float = 0.0
    _searches: int = 0

    @contextmanager
    def talking_to(self, peer: PeerId) -> Iterator[None]:
        """Note that a node answers, until the context ends."""
        self.last = peer
        try:
            yield
        finally:
            self._reached_at = trio.current_time()

    def has_been_away_for(self, seconds: float) -> bool:
        """Return whether the node has not answered for so long."""
        return trio.current_time() - self._reached_at >= seconds

    def may_search_again(self) -> bool:
        """Return whether to look once more for another node, where none was found: for one that was lost only.

        The others may be busy for the moment; when all have refused, they will refuse again.
        """
        self._searches += 1
        return isinstance(self.best_reason, _LOST) and self._searches <= _SEARCHES

    def pass_on(self, reason: PlasmError) -> bool:
        """Give the node up for this job. Return whether there may be another."""
        if self.job is None or self.last is None:
            return False
        log.info("another node is to do it node=%s reason=%s", self.last, reason)
        self.avoid.add(self.last)
        self.best_reason = reason
        self.node = self.last = None
        return True


async def persist(
    dialler: Dialler,
    choice: Choice,
    once: Callable[[Link, PeerId], Awaitable[T]],
    timeout_s: float | None,
    what: str,
) -> T:
    """Do something over a conversation, again and again until it is done or the time is over."""
    problem: Exception | None = None
    pauses = _pauses()
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
                pause = _pause(dialler, exc, choice, pauses)
            log.info("asking again reason=%s pause_s=%.1f", problem, pause)
            await trio.sleep(pause)
    after = f"after {timeout_s:g} s still waiting for {what}" if timeout_s is not None else ""
    raise WaitTimeoutError(f"{after}: {problem}" if problem else after) from problem


def _pause(dialler: Dialler, exc: PlasmError, choice: Choice, pauses: Iterator[float]) -> float:
    """Return how long to wait before another try, at another node perhaps.

    Raises: the error, if none may help.
    """
    if isinstance(exc, RefusedError):
        if dialler.fails_over and choice.pass_on(exc):
            return 0.0
        if exc.reason not in _WORTH_ASKING_AGAIN or exc.retry_after_s is None:
            raise exc
        return max(next(pauses), min(exc.retry_after_s, _LONGEST_PAUSE_S))
    if isinstance(exc, NodeFailedError):
        if not choice.pass_on(exc):
            raise exc
        return 0.0
    if isinstance(exc, PeerUnreachableError):
        if choice.last is None and not choice.may_search_again():
            raise choice.best_reason or exc
    elif not isinstance(exc, ConnectionLostError):
        raise exc
    if dialler.fails_over and choice.has_been_away_for(_PATIENCE_S) and choice.pass_on(exc):
        return 0.0
    return next(pauses)


def _pauses() -> Iterator[float]:
    """Yield pauses in seconds that double up to a bound, each drawn at random from its upper half."""
    pause = _FIRST_PAUSE_S
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
