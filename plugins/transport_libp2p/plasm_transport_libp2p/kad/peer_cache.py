"""DHT servers and their addresses, kept on disk for seven days. It contains no client's address."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs
from multiaddr import Multiaddr

from plasm_core.errors import InvalidRecordError, PeerUnreachableError
from plasm_core.ownership import open_regular
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.fields import constrained, names, timestamp
from plasm_core.records.peer import PeerId, peer_id
from plasm_transport_libp2p.addresses import kind_of, parse
from plasm_transport_libp2p.kad.contact import Contact

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=7)
MAX_SERVERS = 512
MAX_BYTES = 1 << 20
_MAX_ADDRESSES = 8


@attrs.frozen(kw_only=True)
class _CachedServer:
    peer: PeerId = constrained(peer_id())
    addresses: tuple[str, ...] = constrained(names(r"/[!-~]+", 256))
    seen: datetime = constrained(timestamp())


@attrs.frozen(kw_only=True)
class _CacheFile:
    servers: list[_CachedServer]


class PeerCache:
    """The cache in a JSON file; without a path, in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._servers: dict[PeerId, _CachedServer] = {}

    def load(self, now: datetime) -> list[Contact]:
        """Read the file and return its servers, the last seen first. A file that cannot be read counts as empty."""
        if self._path is None:
            return []
        try:
            with open_regular(self._path) as file:
                data = file.read(MAX_BYTES + 1)
            value = parse_json(data, record="peer cache", maximum=MAX_BYTES)
            stored = structure(value, _CacheFile, record="peer cache").servers[:MAX_SERVERS]
        except FileNotFoundError:
            return []
        except (OSError, InvalidRecordError) as exc:
            log.warning("peer cache not read path=%s reason=%s", self._path, exc)
            return []
        self._servers = {item.peer: item for item in stored if now - LIFETIME < item.seen <= now}
        ordered = sorted(self._servers.values(), key=lambda item: item.seen, reverse=True)
        return [Contact(item.peer, _addresses(item)) for item in ordered]

    def save(self, contacts: Iterable[Contact], now: datetime) -> None:
        """Write these servers, seen at `now`, and the earlier ones that are younger than seven days; 512 at most."""
        for contact in contacts:
            addresses = tuple(str(address) for address in contact.addresses[:_MAX_ADDRESSES])
            self._servers[contact.peer] = _CachedServer(peer=contact.peer, addresses=addresses, seen=now)
        latest = sorted(self._servers.values(), key=lambda item: item.seen, reverse=True)
        kept = [item for item in latest if item.seen > now - LIFETIME][:MAX_SERVERS]
        self._servers = {item.peer: item for item in kept}
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(Path(os.path.realpath(self._path)), encode_json(_CacheFile(servers=kept)))
        except OSError as exc:
            log.warning("peer cache not written path=%s reason=%s", self._path, exc)


def _write(path: Path, data: bytes) -> None:
    """Write the file, which is replaced as a whole. A device, such as /dev/null, stays as it is. Raises: OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _addresses(server: _CachedServer) -> tuple[Multiaddr, ...]:
    found = []
    for text in server.addresses[:_MAX_ADDRESSES]:
        try:
            address, _ = parse(text)
        except PeerUnreachableError:
            continue
        if address is not None and kind_of(address) is not None:
            found.append(address)
    return tuple(found)


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(timezone.utc)
