"""py-libp2p's host, which negotiates the protocols of inbound streams, with its defects worked around."""

from __future__ import annotations

import logging
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID

from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.swarm import Libp2pSwarm

log = logging.getLogger(__name__)

_JUNK_COSTS = 4.0
"""What a stream costs its peer on which no protocol was negotiated, in useless frames (`yamux.connection`)."""


class Libp2pHost(BasicHost):
    """Negotiates protocols on inbound streams. Unlike py-libp2p's host it does not run identify on each connection."""

    def __init__(self, swarm: Libp2pSwarm, limits: ConnectionLimits) -> None:
        super().__init__(swarm, disable_identify_address_discovery=True)
        self.multiselect.handlers.clear()
        swarm.notifees.clear()
        self._limits = limits

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        pass

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        """Negotiate the protocol of an inbound stream and run its handler. A failure resets this stream alone."""
        try:
            with trio.fail_after(self._limits.handshake_timeout_s):
                spoken = [str(name) for name in self.multiselect.handlers]
                protocol = TProtocol(await negotiation.answer(net_stream, spoken))
            handler = self.multiselect.handlers.get(protocol)
            if handler is None:  # removed during the negotiation
                await net_stream.reset()
                return
            net_stream.set_protocol(protocol)
            await handler(net_stream)
        except Exception as exc:
            log.debug("stream broken protocol=%s reason=%r", net_stream.get_protocol(), exc)
            await net_stream.reset()
            if net_stream.get_protocol() is None:
                _blame(net_stream)


def _blame(stream: INetStream) -> None:
    """Charge a connection for a stream on which no protocol was negotiated."""
    conn: Any = stream.muxed_conn
    if hasattr(conn, "blame"):
        conn.blame(_JUNK_COSTS)
