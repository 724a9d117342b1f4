"""The HTTP server: sockets, TLS, and bounds on connections. HTTP/1.1 by Hypercorn on trio.

HTTP/2 is not spoken: a browser's six connections suffice, and it is the larger part of what attackers of servers use.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
import stat
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr
from starlette.types import ASGIApp

from plasm_core.errors import ConfigError, TransportError

if sys.version_info < (3, 11):  # pragma: no cover
    from exceptiongroup import BaseExceptionGroup

log = logging.getLogger(__name__)

DEFAULT_PORT = 8750
HEAD_S = 5.0
"""How long the head of a request may take, and a connection may stay idle between two requests."""
STALL_S = 60.0
"""How long a client may take nothing of what is sent to it."""
HANDSHAKE_S = 10.0
MAX_HEAD_BYTES = 32 << 10
MAX_CONNECTIONS = 1024
HOLD = "hold"
"""Name in the ASGI state of what the application calls once a request has a valid token."""
_BACKLOG = 512
_GRACE_S = 5.0
_PIECE_BYTES = 64 << 10


@attrs.frozen(kw_only=True)
class Listen:
    """Where to listen: a Unix socket, or an address and port. `tls`: files of certificate and key."""

    path: Path | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls: tuple[Path, Path] | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.path is not None or self.host in ("127.0.0.1", "::1", "localhost")


def bound(listen: Listen) -> socket.socket:
    """Return the listening socket. Raises: `TransportError`."""
    try:
        return _bound_path(listen.path) if listen.path is not None else _bound_port(listen)
    except OSError as exc:
        place = listen.path or f"{listen.host}:{listen.port}"
        hint = (
            "another program listens there: choose another with --listen"
            if exc.errno == errno.EADDRINUSE
            else None
        )
        raise TransportError(f"cannot listen on {place}: {exc.strerror or exc}", hint=hint) from exc


def _bound_path(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise OSError(errno.EEXIST, "another file exists", str(path))
            with socket.socket(socket.AF_UNIX) as other:
                try:
                    other.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()
                else:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
        before = os.umask(0o177)
        try:
            found.bind(str(path))
        finally:
            os.umask(before)
        found.listen(_BACKLOG)
        return found
    except BaseException:
        found.close()
        raise


def _bound_port(listen: Listen) -> socket.socket:
    (family, kind, _, _, address), *_ = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
        return found
    except BaseException:
        found.close()
        raise


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a server with a certificate. Raises: `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"cannot use the certificate {certificate} with the key {key}: {exc}") from exc
    return context


class _Http1(H11Protocol):
    """HTTP/1.1 alone: no upgrade to HTTP/2, which a proxy before this server might not see."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass


class _Tasks:
    """Runs an application for each request. What comes for one that has ended is dropped.

    Hypercorn's own would wait for ever for room in the queue of a request whose handler has ended.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: Any, config: HypercornConfig, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application for a request, and return the function that hands it events."""
        events, taken = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def receive() -> Any:
            try:
                return await taken.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return {"type": "http.disconnect"}

        async def put(event: Any) -> None:
            if event["type"] == "http.disconnect":
                events.close()
                return
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await events.send(event)

        async def run() -> None:
            with taken:
                await _handle(
                    app, config, scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run
                )

        self._nursery.start_soon(run)
        return put

    def spawn(self, work: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run a task of the connection."""
        self._nursery.start_soon(work, *arguments)


class _Stream(trio.abc.HalfCloseableStream):
    """A client's stream, on which no send takes for ever: Hypercorn shields its sends from cancellation."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket
        self._sending = trio.Lock()
        """Held while something is sent: a malformed body ends the connection while its request is answered."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        async with self._sending:
            while view:
                with trio.move_on_after(STALL_S) as scope:
                    sent = await self._send_some(view)
                    view = view[sent:]
                if scope.cancelled_caught:
                    await trio.aclose_forcefully(self._stream)
                    raise trio.BrokenResourceError("the client takes nothing")

    async def _send_some(self, view: memoryview) -> int:
        piece = view[:_PIECE_BYTES]
        await self._stream.send_all(piece)
        return len(piece)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            raise trio.BusyResourceError("another task sends") from None
        try:
            await self._stream.send_eof()
        finally:
            self._sending.release()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Connection(TCPServer):
    """One client's connection. `idle_again`: called when it waits for a request again."""

    def __init__(self, *arguments: Any, idle_again: Callable[[], None]) -> None:
        super().__init__(*arguments)
        self._idle_again = idle_again

    async def run(self) -> None:
        stream: Any = self.stream
        is_tls = isinstance(stream, trio.SSLStream)
        try:
            if is_tls:
                with trio.fail_after(HANDSHAKE_S):
                    await stream.do_handshake()
            found = stream.transport_stream.socket if is_tls else stream.socket
            client = parse_socket_addr(found.family, found.getpeername())
            server = parse_socket_addr(found.family, found.getsockname())
            async with trio.open_nursery() as nursery:
                tasks: Any = _Tasks(nursery)
                self._task_group = tasks
                self.protocol = _Http1(  # type: ignore[assignment]
                    *(self.app, self.config, self.context, tasks, ConnectionState(self.state)),
                    *(is_tls, client, server, self.protocol_send),
                )
                await self.protocol.initiate()
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except _ENDS:
            pass
        except BaseExceptionGroup as group:
            if group.split(_ENDS)[1] is not None:
                raise
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._close()

    async def protocol_send(self, event: Any) -> None:
        if isinstance(event, Updated) and event.idle:
            self._idle_again()
        await super().protocol_send(event)


_ENDS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


class _Connections:
    """The open connections, bounded in number. For a new one, the longest idle one is closed if need be.

    A connection counts as idle until a request on it has a valid token: strangers who take their answers slowly would
    lock out everybody otherwise.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._open: dict[trio.CancelScope, trio.SocketStream] = {}
        self._idle: dict[trio.CancelScope, None] = {}
        self._changed = trio.Event()

    async def room(self) -> None:
        """Wait until another connection may be accepted."""
        while len(self._open) >= self._maximum:
            if self._idle:
                oldest = next(iter(self._idle))
                self._open[oldest].socket.close()  # a send to a client that takes nothing is shielded
                self.remove(oldest)
                oldest.cancel()
                return
            self._changed = trio.Event()
            await self._changed.wait()

    def add(self, scope: trio.CancelScope, stream: trio.SocketStream) -> None:
        """Note a new connection, on which no request has come yet."""
        self._open[scope] = stream
        self._idle[scope] = None

    def hold(self, scope: trio.CancelScope) -> None:
        """Note that a connection serves a request with a valid token: it is not closed for a new one."""
        self._idle.pop(scope, None)

    def note_idle(self, scope: trio.CancelScope) -> None:
        """Note that a connection waits for a request."""
        self._idle.pop(scope, None)
        if scope in self._open:
            self._idle[scope] = None
            self._changed.set()

    def remove(self, scope: trio.CancelScope) -> None:
        """Note that a connection is closed, or about to be."""
        self._open.pop(scope, None)
        self._idle.pop(scope, None)
        self._changed.set()


def _settings() -> HypercornConfig:
    settings = HypercornConfig()
    settings.accesslog = None
    settings.errorlog = log
    settings.keep_alive_timeout = HEAD_S
    settings.h11_max_incomplete_size = MAX_HEAD_BYTES
    settings.include_server_header = False
    settings.graceful_timeout = _GRACE_S
    return settings


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    context: ssl.SSLContext | None,
    stop: Callable[[], Awaitable[object]],
    *,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Serve an application until `stop` returns; then requests get a few seconds to end."""
    settings, worker = _settings(), WorkerContext(None)
    wrapped: Any = ASGIWrapper(app)  # type: ignore[arg-type]
    connections = _Connections(max_connections)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))

    async def handle(accepted: trio.SocketStream, scope: trio.CancelScope) -> None:
        with scope:
            try:
                stream: Any = _Stream(accepted)
                if context is not None:
                    stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
                state: Any = {HOLD: partial(connections.hold, scope)}
                note = partial(connections.note_idle, scope)
                await _Connection(wrapped, settings, worker, state, stream, idle_again=note)
            except Exception:
                log.exception("connection failed")
            finally:
                connections.remove(scope)
                await trio.aclose_forcefully(accepted)

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener.socket)  # nothing is closed unless somebody waits
            await connections.room()
            try:
                accepted = await listener.accept()
            except OSError as exc:
                if exc.errno not in _SCARCE:
                    raise
                log.error("cannot accept a connection reason=%s", exc.strerror)
                await trio.sleep(0.1)
                continue
            scope = trio.CancelScope()
            connections.add(scope, accepted)
            nursery.start_soon(handle, accepted, scope)

    async with trio.open_nursery() as served:
        with trio.CancelScope() as accepting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept, served)
                await stop()
                accepting.cancel()
        await listener.aclose()
        await worker.terminated.set()
        served.cancel_scope.deadline = trio.current_time() + _GRACE_S


_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
