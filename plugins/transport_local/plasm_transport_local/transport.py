"""The transport: a daemon's socket, and dialling one."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import trio

from plasm_core import paths
from plasm_core.errors import PeerUnreachableError, PlasmError, StreamError
from plasm_core.fair_shares import Holder, Places
from plasm_core.loop_fairness import LoopTurns
from plasm_core.plugins.interfaces import Network, Signer, StreamHandler, Transport
from plasm_core.records.fields import constrained, integer, text
from plasm_core.records.outcome import optional
from plasm_transport_local.listening import bind
from plasm_transport_local.stream import REFUSAL, LocalStream, user_of
from plasm_transport_local.trust import check_server, user_named

log = logging.getLogger(__name__)

PREFIX = "unix:"
_GREETING_S = 10
_BACKLOG_PAUSE_S = 0.1
_KEPT_FOR_OPERATOR = 8
"""One place in eight is reserved for the daemon's own user and root."""


@attrs.frozen(kw_only=True)
class LocalTransport(Transport):
    """Unix sockets. `mode`: the socket's permissions in octal; `group`: the group that owns it.

    `trusted_user`: name or number of a user whose daemon is trusted, in addition to those of the client's user and of
    root.
    """

    name = "local"

    socket: str | None = constrained(optional(text(pattern=r"/.+", maximum=4096)), default=None)
    mode: str = constrained(text(pattern=r"0?[0-7]{3}", maximum=4), default="0600")
    group: str | None = constrained(optional(text(pattern=r"[a-z_][a-z0-9_-]*", maximum=32)), default=None)
    trusted_user: str | None = constrained(
        optional(text(pattern=r"[a-z_][a-z0-9_-]*|[0-9]{1,10}", maximum=32)), default=None
    )
    max_connections: int = constrained(integer(1, 100_000), default=1024)

    def open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AbstractAsyncContextManager[Network]:
        return self._open(handlers)

    def try_listening(self) -> None:
        user_named(self.trusted_user)
        path = Path(self.socket) if self.socket else paths.own_socket()
        bind(path, mode=int(self.mode, 8), group=self.group, trial=True).close()

    @asynccontextmanager
    async def _open(self, handlers: Mapping[str, StreamHandler]) -> AsyncIterator[Network]:
        if not handlers:
            yield LocalNetwork((), trusted=user_named(self.trusted_user))
            return
        path = Path(self.socket) if self.socket else paths.own_socket()
        listener = trio.SocketListener(_listening(path, self))
        inode = path.stat().st_ino
        places = Places(self.max_connections, kept=self.max_connections // _KEPT_FOR_OPERATOR)
        turns = LoopTurns()
        try:
            async with trio.open_nursery() as nursery:

                async def serve(connection: trio.SocketStream) -> None:
                    await _serve(connection, handlers, places, turns)

                nursery.start_soon(turns.run)
                nursery.start_soon(trio.serve_listeners, serve, [listener])
                yield LocalNetwork((f"{PREFIX}{path}",), trusted=user_named(self.trusted_user))
                nursery.cancel_scope.cancel()
        finally:
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()


def _listening(path: Path, transport: LocalTransport) -> trio.socket.SocketType:
    sock = bind(path, mode=int(transport.mode, 8), group=transport.group)
    return trio.socket.from_stdlib_socket(sock)


async def _serve(
    connection: trio.SocketStream, handlers: Mapping[str, StreamHandler], places: Places, turns: LoopTurns
) -> None:
    """Serve one connection. What goes wrong ends it and nothing else.

    When there is no place, the user with the most connections loses the newest.
    """
    user = user_of(connection.socket)
    stream, scope = LocalStream(connection, user, turns), trio.CancelScope()
    # A user who may end the daemon is not limited; every other user is counted.
    is_own = user is None or user in (0, os.geteuid())
    place = places.take(Holder(names=(f"user {user}",), is_own=is_own, is_bounded=False), scope.cancel)
    if place is None:
        log.warning("connection refused reason=too_many_connections limit=%d", len(places))
        await connection.aclose()
        return
    try:
        with scope:
            with trio.fail_after(_GREETING_S):
                protocol = await stream.receive_line()
                handler = handlers.get(protocol)
                await stream.send_line(protocol if handler else REFUSAL)
            if handler is not None:
                await handler(stream)
        if scope.cancelled_caught:
            log.info("connection ended reason=another_user_found_no_place")
    except (StreamError, trio.TooSlowError) as exc:
        log.debug("connection ended reason=%s", exc)
    except Exception:
        log.exception("connection failed")
    finally:
        place.give_back()
        stream.close_descriptor()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(connection)


class LocalNetwork(Network):
    """Unix sockets, dialled as `unix:/path`. `trusted`: the user id of a user whose daemons are trusted."""

    def __init__(self, addresses: tuple[str, ...], *, trusted: int | None = None) -> None:
        self._addresses = addresses
        self._trusted = trusted

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._addresses

    async def dial(self, address: str, protocol: str) -> LocalStream:
        path = address.removeprefix(PREFIX)
        try:
            connection = await _connected(path)
        except PermissionError as exc:
            raise PeerUnreachableError(
                f"the socket {path} is not open to this user", hint=_how_to_be_let_in(Path(path))
            ) from exc
        except OSError as exc:
            raise PeerUnreachableError(f"no daemon answers on {path}: {exc.strerror or exc}") from exc
        user = user_of(connection.socket)
        stream = LocalStream(connection, user)
        try:
            await stream.send_line(protocol)
            answer = await stream.receive_line()
        except PlasmError as exc:
            await trio.aclose_forcefully(connection)
            raise PeerUnreachableError(f"what listens on {path} is no Plasm daemon: {exc}") from exc
        except BaseException:
            await trio.aclose_forcefully(connection)
            raise
        if answer != protocol:
            await trio.aclose_forcefully(connection)
            raise PeerUnreachableError(f"the daemon on {path} does not speak {protocol}")
        try:
            check_server(Path(path), user, self._trusted)
        except PeerUnreachableError:
            await trio.aclose_forcefully(connection)
            raise
        return stream


async def _connected(path: str) -> trio.SocketStream:
    """Connect to a socket, and wait as long as its backlog is full.

    unix(7): connect() on a socket that does not block fails with EAGAIN then. Trio takes that for EINPROGRESS, and
    the stream for one that is connected. Raises: OSError.
    """
    await trio.lowlevel.checkpoint()
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.connect(path)
        except BlockingIOError:
            sock.close()
            await trio.sleep(_BACKLOG_PAUSE_S)
        except BaseException:
            sock.close()
            raise
        else:
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def _how_to_be_let_in(path: Path) -> str:
    for place in (path, path.parent):
        with contextlib.suppress(OSError, KeyError):
            group = place.group()
            if group != "root":
                return (
                    f"its users are in the group {group}: sudo usermod -a -G {group} $USER, and log in again"
                )
    return "ask the administrator of the daemon for access (transport.local.group)"
