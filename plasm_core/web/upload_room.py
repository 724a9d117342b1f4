"""The bytes of files that the server receives and packs at once, bounded, so that they do not fill the disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from plasm_core.quantities import shown_bytes
from plasm_core.web.bearer_tokens import LOCAL_USER, BearerToken
from plasm_core.web.problems import ApiProblem
from plasm_core.web.uploads import too_large

MAX_BYTES = 8 << 30
"""All bodies together. A file counts while it is received, and once more while it is packed."""


class UploadRoom:
    """Gives room to bodies; one token gets three quarters of it at most."""

    def __init__(self, total: int = MAX_BYTES) -> None:
        self._total = total
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, token: BearerToken, maximum: int) -> Iterator[UploadPlace]:
        """Return a place for the files of one body, which are at most `maximum` bytes. Its room is free afterwards."""
        place = UploadPlace(room=self, token=token, maximum=maximum)
        try:
            yield place
        finally:
            with self._lock:
                self._taken[token.identity] -= place.taken_bytes
                if not self._taken[token.identity]:
                    del self._taken[token.identity]

    def _take(self, token: BearerToken, size: int) -> None:
        with self._lock:
            own, total = self._taken[token.identity] + size, self._taken.total() + size
            share = self._total if token is LOCAL_USER else self._total * 3 // 4
            if own > share or total > self._total:
                raise ApiProblem(
                    429,
                    "too_many_uploads",
                    f"the server receives {shown_bytes(total - size)} of files already, {shown_bytes(own - size)} of"
                    " them of this token",
                    hint="send fewer at once",
                    retry_after_s=5,
                )
            self._taken[token.identity] = own


@attrs.define(eq=False, kw_only=True)
class UploadPlace:
    """The room that one body has taken. Its methods may be called in threads."""

    room: UploadRoom
    token: BearerToken
    maximum: int
    taken_bytes: int = 0
    _received: int = 0

    def receive(self, size: int) -> None:
        """Take room for the next bytes of the body. Raises: `ApiProblem` if there is none."""
        self._received += size
        if self._received > self.maximum:
            raise too_large(f"the files have more than {self.maximum:,} bytes")
        self.take(size)

    def take(self, size: int) -> None:
        """Take room for bytes that are made of those that were received. Raises: `ApiProblem` if there is none."""
        self.room._take(self.token, size)
        self.taken_bytes += size
