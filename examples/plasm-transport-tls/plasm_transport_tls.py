"""The transport `tls`: TLS 1.3 over TCP, where the certificate of a node is bound to the node's own key.

Addresses are `/ip4/192.0.2.1/tcp/4002/tls/p2p/12D3KooW…`. A node proves its identity; clients stay unknown.
"""

import hashlib
import hmac
import logging
import re
import ssl
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from plasm_tls_certificate import certified, proved

from plasm_core import hookimpl, paths
from plasm_core.errors import PeerUnreachableError, StreamError, TransportError
from plasm_core.plugins.interfaces import Network, Stream, Transport

GREETING_S = 10
MAX_LINE = 256
FAILURES = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, ssl.SSLError)
log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Tls(Transport):
    name = "tls"

    host: str = "127.0.0.1"
    port: int = 4002
    max_connections: int = 256

    def open(self, identity, handlers):
        return self._open(identity, handlers)

    @asynccontextmanager
    async def _open(self, identity, handlers):
        if not handlers:
            yield TlsNetwork(())
            return
        if identity is None:
            raise TransportError("the transport tls needs an identity to listen")
        try:
            (listener,) = await trio.open_tcp_listeners(self.port, host=self.host)
        except OSError as exc:
            raise TransportError(f"cannot listen on {self.host}:{self.port}: {exc.strerror}") from exc
        serve = partial(_serve, certified(identity), handlers, trio.CapacityLimiter(self.max_connections))
        port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            yield TlsNetwork((f"/ip4/{self.host}/tcp/{port}/tls/p2p/{identity.peer_id}",))
            nursery.cancel_scope.cancel()


async def _serve(context, handlers, places, connection):
    """Serve one connection: whatever goes wrong ends it and nothing else."""
    try:
        places.acquire_on_behalf_of_nowait(connection)
    except trio.WouldBlock:
        await trio.aclose_forcefully(connection)
        return
    try:
        group = _group(connection.socket.getpeername()[0])
        stream = TlsStream(trio.SSLStream(connection, context, server_side=True), None, group)
        with trio.fail_after(GREETING_S):
            protocol = await stream.receive_line()
            handler = handlers.get(protocol)
            await stream.send_all(f"{protocol if handler else '-'}\n".encode())
        if handler is not None:
            await handler(stream)
            await stream.aclose()
    except (StreamError, trio.TooSlowError, *FAILURES) as exc:
        log.debug("connection ended reason=%s", exc)
    except Exception:
        log.exception("connection failed")
    finally:
        places.release_on_behalf_of(connection)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(connection)


def _group(host):
    """Name the client's /24 without revealing it."""
    block = host.rpartition(".")[0] or host
    return hmac.new(paths.secret(paths.owners_key()), block.encode(), hashlib.sha256).hexdigest()[:16]


class TlsNetwork(Network):
    def __init__(self, addresses):
        self._addresses = addresses

    @property
    def addresses(self):
        return self._addresses

    async def dial(self, address, protocol):
        match = re.fullmatch(r"/ip4/([\d.]+)/tcp/(\d+)/tls(?:/p2p/(\w+))?", address)
        if match is None:
            raise PeerUnreachableError(f"{address} is no address of the transport tls")
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `proved` checks the certificate
        try:
            connection = await trio.open_tcp_stream(match[1], int(match[2]))
        except OSError as exc:
            raise PeerUnreachableError(f"nobody answers on {address}: {exc}") from exc
        try:
            tls = trio.SSLStream(connection, context)
            await tls.do_handshake()
            peer = proved(tls.getpeercert(binary_form=True))
            if match[3] is not None and str(peer) != match[3]:
                raise PeerUnreachableError(f"{address} is another node: {peer}")
            stream = TlsStream(tls, peer, "node")
            await stream.send_all(f"{protocol}\n".encode())
            if await stream.receive_line() != protocol:
                raise PeerUnreachableError(f"{address} does not speak {protocol}")
        except BaseException as exc:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(connection)
            if isinstance(exc, (ValueError, StreamError, *FAILURES)):
                raise PeerUnreachableError(f"{address} does not introduce itself: {exc}") from exc
            raise
        return stream


class TlsStream(Stream):
    def __init__(self, tls, peer, group):
        self._tls, self._peer, self._group = tls, peer, group
        self._received = b""

    @property
    def remote_peer(self):
        return self._peer

    @property
    def remote_group(self):
        return self._group

    async def send_all(self, data):
        try:
            await self._tls.send_all(data)
        except FAILURES as exc:
            raise StreamError(f"cannot send: {exc or type(exc).__name__}") from exc

    async def receive_some(self, max_bytes=65_536):
        if self._received:
            await trio.lowlevel.checkpoint()
            data, self._received = self._received[:max_bytes], self._received[max_bytes:]
            return data
        try:
            return bytes(await self._tls.receive_some(max_bytes))
        except FAILURES as exc:
            raise StreamError(f"cannot receive: {exc or type(exc).__name__}") from exc

    async def receive_line(self):
        """Return the line that a stream begins with."""
        while b"\n" not in self._received:
            data = b"" if len(self._received) > MAX_LINE else await self._tls.receive_some(MAX_LINE)
            if not data:
                raise StreamError("the other side sent no protocol")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode("ascii", "replace")

    async def aclose(self):
        try:
            await self._tls.aclose()
        except FAILURES:
            await trio.lowlevel.checkpoint()


@hookimpl
def plasm_transport():
    return [Tls]
