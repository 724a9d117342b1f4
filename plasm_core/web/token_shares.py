"""The requests that a token has open, bounded, so that one token leaves room for the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from plasm_core.web.bearer_tokens import LOCAL_USER, BearerToken
from plasm_core.web.problems import ApiProblem


class TokenShares:
    """Gives each token at most three quarters of `total` places, and at least one."""

    def __init__(self, total: int) -> None:
        self._most = max(1, total * 3 // 4)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, token: BearerToken | None) -> Iterator[None]:
        """Take a place while the context is open. Raises: `ApiProblem`."""
        if token is None or token is LOCAL_USER:
            yield
            return
        if self._taken[token.identity] >= self._most:
            raise ApiProblem(
                429,
                "too_many_requests",
                f"the token {token.name} has {self._most} requests open",
                hint="close streams that are not read any more, or make a token for each client",
                retry_after_s=1,
            )
        self._taken[token.identity] += 1
        try:
            yield
        finally:
            self._taken[token.identity] -= 1
            if not self._taken[token.identity]:
                del self._taken[token.identity]
