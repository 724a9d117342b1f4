"""Messages of Kademlia: protobuf, with every list and length bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from libp2p.kad_dht.pb.kademlia_pb2 import Message as Protobuf

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import kind_of
from plasm_transport_libp2p.identify import multiaddr
from plasm_transport_libp2p.kademlia.contact import Contact

MAX_BYTES = 65_536
MAX_KEY_BYTES = 80
MAX_PEERS = 64
MAX_ADDRESSES = 8

GET_VALUE, ADD_PROVIDER, GET_PROVIDERS, FIND_NODE, PING = KINDS = (1, 2, 3, 4, 5)


@attrs.frozen(kw_only=True)
class Message:
    """A request or an answer."""

    kind: int
    key: bytes = b""
    closer: tuple[Contact, ...] = ()
    providers: tuple[Contact, ...] = ()

    def encode(self) -> bytes:
        """Return the protobuf."""
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
    def decode(cls, data: bytes) -> Message:
        """Read the protobuf. Peers whose keys are not Ed25519 are left out. Raises: `StreamError`."""
        message: Any = Protobuf()
        try:
            message.ParseFromString(data)
        except Exception as exc:  # protobuf's implementations raise errors of their own
            raise StreamError("a message of the directory cannot be read") from exc
        if len(message.key) > MAX_KEY_BYTES:
            raise StreamError(f"a key is longer than {MAX_KEY_BYTES} bytes")
        return cls(
            kind=message.type,
            key=message.key,
            closer=_contacts(message.closerPeers),
            providers=_contacts(message.providerPeers),
        )


def _contacts(entries: Iterable[Any]) -> tuple[Contact, ...]:
    found = []
    for entry, _ in zip(entries, range(MAX_PEERS), strict=False):
        try:
            peer = PeerId.from_multihash(entry.id)
        except ValueError:
            continue
        addresses = [multiaddr(raw) for raw in entry.addrs[:MAX_ADDRESSES]]
        found.append(
            Contact(peer, tuple(item for item in addresses if item is not None and kind_of(item) is not None))
        )
    return tuple(found)
