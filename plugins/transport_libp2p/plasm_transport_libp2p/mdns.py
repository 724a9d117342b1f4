"""Discovery on the local network by multicast DNS (libp2p specification, "discovery/mdns"). Off by default."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import attrs
import trio
from multiaddr import Multiaddr
from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import ip_of, kind_of, parse

log = logging.getLogger(__name__)

SERVICE = "_p2p._udp.local."
_ASK_MS = 3000
_MAX_ADDRESSES = 8
_MAX_WAITING = 64
_TXT_BYTES = 255


@attrs.frozen
class LocalPeer:
    """A peer of the local network, and the addresses in its announcement."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...]


@asynccontextmanager
async def neighbourhood(
    addresses: Sequence[str], *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[trio.MemoryReceiveChannel[LocalPeer]]:
    """Announce this node's addresses, if there are any, and yield the peers that others announce.

    `addresses` end in `/p2p/` and the peer id. Raises: `TransportError` if the multicast socket cannot be opened.
    """
    send, receive = trio.open_memory_channel[LocalPeer](_MAX_WAITING)
    closing = threading.Event()
    token = trio.lowlevel.current_trio_token()

    def deliver(contact: LocalPeer) -> None:
        try:
            send.send_nowait(contact)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("mdns announcement dropped peer=%s reason=queue_full", contact.peer)

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed or closing.is_set():
            return
        for contact in announced_by(zeroconf, service_type, name):
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(deliver, contact)

    choice = list(interfaces) if interfaces is not None else InterfaceChoice.All
    try:
        zeroconf = await trio.to_thread.run_sync(lambda: Zeroconf(interfaces=choice))
    except OSError as exc:
        raise TransportError(f"mDNS cannot be used: {exc.strerror or exc}") from exc
    try:
        if addresses:
            # A random name, as the specification asks: it must not identify the node across networks.
            name = f"{secrets.token_hex(16)}.{SERVICE}"
            hosts = {ip_of(where) for contact in contacts(encode(addresses)) for where in contact.addresses}
            info = ServiceInfo(
                SERVICE,
                name,
                port=4001,  # not used: the addresses are in the properties
                properties=encode(addresses),
                server=f"{name[:32]}.local.",
                parsed_addresses=[str(ip) for ip in hosts if ip is not None],
            )
            await trio.to_thread.run_sync(zeroconf.register_service, info)
        browser = await trio.to_thread.run_sync(lambda: ServiceBrowser(zeroconf, SERVICE, handlers=[changed]))
        try:
            with receive:
                yield receive
        finally:
            # Closing zeroconf does not end the thread of a browser. It ends after the lookup under way, three seconds
            # at most; the announcements that wait behind it are not looked up any more.
            closing.set()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(browser.cancel)
    finally:
        send.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(zeroconf.close)


def announced_by(zeroconf: Zeroconf, service_type: str, name: str) -> list[LocalPeer]:
    """Return the peers that a service names, nobody once zeroconf is closed. Waits up to three seconds for its record."""
    info = ServiceInfo(service_type, name)
    try:
        info.request(zeroconf, _ASK_MS)  # its result is for the host address, which is not needed
    except Exception as exc:  # closed meanwhile, or blocked: an exception would end the thread of the browser
        log.debug("mdns announcement not read reason=%r", exc)
        return []
    return contacts(info.text)


def encode(addresses: Sequence[str]) -> bytes:
    """Return a TXT record (RFC 6763, section 6): a `dnsaddr=` string for each of the first eight addresses."""
    record = b""
    for address in addresses[:_MAX_ADDRESSES]:
        text = f"dnsaddr={address}".encode()
        if len(text) <= _TXT_BYTES:
            record += bytes([len(text)]) + text
    return record


def contacts(record: bytes | None) -> list[LocalPeer]:
    """Return the peers in a TXT record. Strings that are not valid are skipped: anyone can send one."""
    found: dict[PeerId, list[Multiaddr]] = {}
    rest = record or b""
    for _ in range(2 * _MAX_ADDRESSES):
        if not rest:
            break
        text, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        key, _, value = text.decode("utf-8", "replace").partition("=")
        if key != "dnsaddr":
            continue
        try:
            where, who = parse(value)
        except PeerUnreachableError:
            continue
        if where is not None and who is not None and kind_of(where) is not None:
            found.setdefault(who, []).append(where)
    return [LocalPeer(peer, tuple(where[:_MAX_ADDRESSES])) for peer, where in found.items()]
