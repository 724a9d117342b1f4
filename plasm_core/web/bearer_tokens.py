"""The bearer tokens of the HTTP API: made, listed and revoked by `plasm web token`, stored as digests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import attrs

from plasm_core.errors import InvalidRecordError, OutputFileError, PlasmError, StorageError
from plasm_core.output_file import OutputFile
from plasm_core.ownership import check_file, open_regular
from plasm_core.paths import private_directory, state_directory
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.fields import constrained, digest, names_of, text, timestamp

SUBMIT, READ, ADMIN = "submit", "read", "admin"
SCOPES = (SUBMIT, READ, ADMIN)
MAX_TOKENS = 1000
_PREFIX = "phaseweb-"
_MAX_BYTES = 1 << 20


class TokenNameError(PlasmError):
    """A bearer token cannot be made or revoked under this name."""


@attrs.frozen(kw_only=True)
class BearerToken:
    """A bearer token as it is stored: its name, scopes and SHA-256, not the token itself.

    A scope includes those below it: `admin` includes `submit`, which includes `read`.
    """

    json_camel = True
    json_open = True

    name: str = constrained(text(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", maximum=64))
    scopes: tuple[str, ...] = constrained(names_of(*SCOPES))
    sha256: str = constrained(digest(), shown=False)
    made_at: datetime = constrained(timestamp())

    @property
    def identity(self) -> str:
        """A name for this token that no other one gets, even if it is revoked and made again."""
        return self.sha256[:32]

    def permits(self, scope: str) -> bool:
        """Return whether a request that needs a scope may be made with it."""
        order = (READ, SUBMIT, ADMIN)
        return any(order.index(scope) <= order.index(held) for held in self.scopes)


@attrs.frozen(kw_only=True)
class _Stored:
    json_camel = True

    tokens: tuple[BearerToken, ...]


LOCAL_USER = BearerToken(
    name="local",
    scopes=(ADMIN,),
    sha256="0" * 64,
    made_at=datetime(1970, 1, 1, tzinfo=timezone.utc),
)
"""Who comes over the Unix socket, which its file's permissions protect."""


def web_directory() -> Path:
    """Return the directory of the web server's own state."""
    return state_directory() / "web"


class BearerTokens:
    """The file of tokens, mode 0600. A change by another process is seen at the next question."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or web_directory() / "tokens.json"
        self._seen: tuple[int, int, int] | None = None
        self._by_digest: dict[str, BearerToken] = {}

    def find(self, token: str) -> BearerToken | None:
        """Return the record of a token; None if it is unknown. Raises: `StorageError`."""
        found = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        return self._current().get(found)

    def is_valid(self, token: BearerToken) -> bool:
        """Return whether a token that was found before has not been revoked. Raises: `StorageError`."""
        return token is LOCAL_USER or token.sha256 in self._current()

    def listed(self) -> Sequence[BearerToken]:
        """Return all, the oldest first. Raises: `StorageError`."""
        return tuple(self._current().values())

    def make(self, name: str, scopes: Sequence[str]) -> str:
        """Make a token, and return it: it is not stored. Raises: `TokenNameError`, `StorageError`."""
        token = _PREFIX + secrets.token_urlsafe(32)
        try:
            made = BearerToken(
                name=name,
                scopes=tuple(sorted(set(scopes))),
                sha256=hashlib.sha256(token.encode()).hexdigest(),
                made_at=datetime.now(timezone.utc),
            )
        except ValueError as exc:
            raise TokenNameError(f"not a token's name or scopes: {exc}") from exc
        with self._rewritten() as tokens:
            if any(item.name == name for item in tokens):
                raise TokenNameError(
                    f"there is a token called {name} already",
                    hint=f"take another name, or revoke it with: plasm web token revoke {name}",
                )
            if len(tokens) >= MAX_TOKENS:
                raise TokenNameError(f"there are {MAX_TOKENS} tokens already", hint="revoke some")
            tokens.append(made)
        return token

    def revoke(self, name: str) -> None:
        """Revoke a token. Raises: `TokenNameError`, `StorageError`."""
        with self._rewritten() as tokens:
            kept = [item for item in tokens if item.name != name]
            if len(kept) == len(tokens):
                raise TokenNameError(f"there is no token called {name}", hint="see: plasm web token list")
            tokens[:] = kept

    def _current(self) -> dict[str, BearerToken]:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._by_digest = None, {}
            return self._by_digest
        except OSError as exc:
            raise self._unreadable(exc) from exc
        now = (found.st_ino, found.st_mtime_ns, found.st_size)
        if now != self._seen:
            self._by_digest = {item.sha256: item for item in self._read()}
            self._seen = now
        return self._by_digest

    def _read(self) -> tuple[BearerToken, ...]:
        try:
            with open_regular(self._path) as file:
                check_file(os.fstat(file.fileno()), self._path)
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise self._unreadable(exc) from exc
        try:
            return structure(
                parse_json(data, record="token file", maximum=_MAX_BYTES), _Stored, record="token file"
            ).tokens
        except InvalidRecordError as exc:
            raise StorageError(f"{self._path}: {exc}", hint="delete it, and make the tokens again") from exc

    def _unreadable(self, exc: OSError) -> StorageError:
        return StorageError(f"cannot read {self._path}: {exc.strerror or exc}")

    @contextmanager
    def _rewritten(self) -> Iterator[list[BearerToken]]:
        try:
            private_directory(self._path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self._path.with_suffix(".lock"), flags, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                tokens = list(self._read())
                yield tokens
                OutputFile.prepared(self._path).write(
                    encode_json(_Stored(tokens=tuple(tokens))) + b"\n", mode=0o600
                )
            finally:
                os.close(lock)
        except OutputFileError as exc:
            raise StorageError(str(exc)) from exc
        except OSError as exc:
            raise StorageError(f"cannot write {self._path}: {exc.strerror or exc}") from exc
