"""Messages of Kademlia (libp2p specification, "kad-dht", "RPC messages"): protobuf, with every list bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import trio.lowlevel
from libp2p.kad_dht.pb.kademlia_pb2 import Message as Protobuf
from multiaddr import Multiaddr

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import kind_of
from plasm_transport_libp2p.identify.identify import multiaddr
from plasm_transport_libp2p.kad.contact import Contact

MAX_BYTES = 65_536
MAX_KEY_BYTES = 80
MAX_PEERS = 64
MAX_ADDRESSES = 8

GET_VALUE, ADD_PROVIDER, GET_PROVIDERS, FIND_NODE, PING = KINDS = (1, 2, 3, 4, 5)


@attrs.frozen(kw_only=True)
class KademliaMessage:
    """A request or an answer. `closer` and `providers`: at most 64 contacts with eight addresses each."""

    kind: int
    key: bytes = b""
    closer: tuple[Contact, ...] = ()
    providers: tuple[Contact, ...] = ()

    def encode(self) -> bytes:
        """Return the protobuf, without its length."""
        message: Any = Protobuf(key=self.key)
        message.type = self.kind
        for contacts, field in ((self.closer, message.closerPeers), (self.providers, message.providerPeers)):
            for contact in contacts[:MAX_PEERS]:
                entry = field.add()
                entry.id = contact.peer.multihash
                entry.addrs.extend(address.to_bytes() for address in contact.addresses[:MAX_ADDRESSES])
        encoded: bytes = message.SerializeToString()
        return encoded

    @classmethod
    def decode_request(cls, data: bytes, sender: PeerId) -> KademliaMessage:
        """Decode a request. Of its contacts, decode only the sender's own among the providers that it adds.

        A server needs no other contact, and decoding an address takes about 0.1 ms. Raises: `StreamError`.
        """
        message = _parsed(data)
        own = message.providerPeers if message.type == ADD_PROVIDER else ()
        entries = [entry for entry in own if entry.id == sender.multihash][:1]
        providers = tuple(Contact(sender, _addresses(entry)) for entry in entries)
        return cls(kind=message.type, key=message.key, providers=providers)

    @classmethod
    async def decode(cls, data: bytes) -> KademliaMessage:
        """Read an answer. Peers whose keys are not Ed25519 are left out. Raises: `StreamError`.

        Each contact is followed by a checkpoint: reading all of them may take 0.1 s.
        """
        message = _parsed(data)
        return cls(
            kind=message.type,
            key=message.key,
            closer=await _contacts(message.closerPeers),
            providers=await _contacts(message.providerPeers),
        )


def _parsed(data: bytes) -> Any:
    """Return the protobuf, with its key checked. Raises: `StreamError`."""
    message: Any = Protobuf()
    try:
        message.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("a Kademlia message cannot be decoded") from exc
    if len(message.key) > MAX_KEY_BYTES:
        raise StreamError(f"a key is longer than {MAX_KEY_BYTES} bytes")
    return message


async def _contacts(entries: Iterable[Any]) -> tuple[Contact, ...]:
    found = []
    for entry, _ in zip(entries, range(MAX_PEERS), strict=False):
        try:
            peer = PeerId.from_multihash(entry.id)
        except ValueError:
            continue
        found.append(Contact(peer, _addresses(entry)))
        await trio.lowlevel.checkpoint()
    return tuple(found)


def _addresses(entry: Any) -> tuple[Multiaddr, ...]:
    """Return the addresses of an entry that can be dialled."""
    addresses = [multiaddr(raw) for raw in entry.addrs[:MAX_ADDRESSES]]
    return tuple(item for item in addresses if item is not None and kind_of(item) is not None)
