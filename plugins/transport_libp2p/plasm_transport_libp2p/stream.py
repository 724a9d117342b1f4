"""The plugin API's stream over a stream of yamux or QUIC."""

from __future__ import annotations

from typing import Any

import trio
from libp2p.abc import INetStream

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.interfaces import PeerStream

_CLOSE_S = 1.0


class Libp2pStream(PeerStream):
    """One stream. An outbound one sends its multistream-select proposal with the first bytes written, and reads the
    answer before any other byte: that saves a round trip."""

    def __init__(self, stream: INetStream, peer: PeerId, group: str, *, proposing: str | None = None) -> None:
        self._stream = stream
        self._peer = peer
        self._group = group
        self._unsent = negotiation.proposal(proposing) if proposing else b""
        self._unconfirmed = proposing
        self._ended = False
        self._broken = False
        self._closed = False

    @property
    def remote_peer(self) -> PeerId:
        return self._peer

    @property
    def connection(self) -> Any:
        """The muxed connection that carries the stream."""
        return self._stream.muxed_conn

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        self._check()
        data, self._unsent = self._unsent + data, b""
        complete = False
        try:
            await self._stream.write(data)
            complete = True
        except Exception as exc:
            raise StreamError(f"the stream broke: {_reason(exc)}") from exc
        finally:
            self._broken = not complete

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        self._check()
        if self._ended:
            return b""
        await self.confirm()
        try:
            data = await self._stream.read(max_bytes)
        except EOFError:
            data = b""
        except Exception as exc:
            self._broken = True
            raise StreamError(f"the stream broke: {_reason(exc)}") from exc
        self._ended = not data
        return data

    def is_silent(self) -> bool:
        usable = not (self._broken or self._closed or self._ended or self._unconfirmed)
        muxed: Any = getattr(self._stream, "muxed_stream", self._stream)
        return usable and bool(muxed.is_silent)

    async def pause(self) -> None:
        await self.connection.turn_to_read()

    async def confirm(self) -> None:
        """Wait until the peer has accepted the proposed protocol. Raises: `StreamError` if it does not."""
        if self._unsent:
            await self.send_all(b"")
        if self._unconfirmed is None:
            return
        confirmed = False
        try:
            await negotiation.confirm(self._stream, self._unconfirmed)
            self._unconfirmed = None
            confirmed = True
        except StreamError:
            raise
        except Exception as exc:
            raise StreamError(f"the stream broke: {_reason(exc)}") from exc
        finally:
            self._broken = not confirmed

    def _check(self) -> None:
        if self._closed:
            raise StreamError("the stream was closed here")
        if self._broken:
            raise StreamError("the stream is broken")

    async def aclose(self) -> None:
        if self._closed:
            return
        try:
            if not self._broken:
                if self._unsent:
                    await self.send_all(b"")
                await self._stream.close()
                self._closed = True
        except Exception:  # a failure to close is a broken stream, which is reset below
            pass
        finally:
            if not self._closed:
                await self.abort()
        await trio.lowlevel.checkpoint()

    async def abort(self) -> None:
        """Reset the stream, so that the peer does not take it for ended. Never raises `StreamError`."""
        self._closed = True
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_S):
            await self._stream.reset()


def _reason(exc: BaseException) -> str:
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return str(exc) or type(exc).__name__
