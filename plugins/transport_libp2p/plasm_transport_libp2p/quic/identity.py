"""TLS certificates that carry a libp2p key, and the verification of the peer's (libp2p specification, "tls").

py-libp2p makes and parses the certificates' extension.
"""

from __future__ import annotations

import ssl
import time

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from libp2p.crypto.keys import PrivateKey
from libp2p.peer.id import ID
from libp2p.transport.quic.exceptions import QUICPeerVerificationError
from libp2p.transport.quic.security import QUICTLSConfigManager, create_quic_security_transport

from plasm_core.errors import TransportError
from plasm_transport_libp2p.identity import from_libp2p
from plasm_transport_libp2p.quic.limits import QuicLimits

ALPN = "libp2p"
SECURITY_PROTOCOL = "/tls/1.0.0"
_CERTIFICATE_LIFETIME_S = 90 * 86_400.0
"""py-libp2p makes certificates for 365 days; a node may run for longer."""


class PeerIdentityError(TransportError):
    """A peer's certificate is not valid, or proves another identity than was dialled."""


class TlsIdentity:
    """This host's libp2p key, and the TLS configurations whose certificate proves it."""

    def __init__(self, private_key: PrivateKey, limits: QuicLimits) -> None:
        self.peer_id = ID.from_pubkey(private_key.get_public_key())
        self._private_key = private_key
        self._limits = limits
        self._renew()

    def _renew(self) -> None:
        self._security: QUICTLSConfigManager = create_quic_security_transport(self._private_key, self.peer_id)
        self._made_at = time.monotonic()
        self._client = self._configuration(is_client=True)
        self._server = self._configuration(is_client=False)

    def _configuration(self, *, is_client: bool) -> QuicConfiguration:
        tls = self._security.create_client_config() if is_client else self._security.create_server_config()
        return QuicConfiguration(
            is_client=is_client,
            alpn_protocols=[ALPN],
            supported_versions=[QuicProtocolVersion.VERSION_1],
            idle_timeout=self._limits.idle_timeout_s,
            max_datagram_size=self._limits.datagram_bytes,
            max_data=self._limits.first_window_bytes,
            max_stream_data=self._limits.stream_window_bytes,
            # The certificates are self-signed: `verify` checks them, not TLS.
            verify_mode=ssl.CERT_NONE,
            certificate=tls.certificate,
            certificate_chain=tls.certificate_chain,
            private_key=tls.private_key,
        )

    def configuration(self, *, is_client: bool) -> QuicConfiguration:
        """Return the configuration for a new connection."""
        if time.monotonic() - self._made_at > _CERTIFICATE_LIFETIME_S:
            self._renew()
        return self._client if is_client else self._server

    def verify(self, certificates: list[x509.Certificate], expected: ID | None) -> ID:
        """Return the identity that a peer's certificates prove. Raises: `PeerIdentityError`.

        TLS has checked that the peer holds the certificate's key. This checks that the libp2p key has signed that key.
        """
        if len(certificates) != 1:
            raise PeerIdentityError(f"the peer sent {len(certificates)} certificates instead of one")
        certificate = certificates[0]
        try:
            certificate.verify_directly_issued_by(certificate)
            proven = self._security.verify_peer_identity(certificate)
            from_libp2p(proven)  # a key that is not Ed25519, or proves nothing, is no identity
        except (InvalidSignature, ValueError, TypeError, QUICPeerVerificationError) as exc:
            raise PeerIdentityError(f"the peer's certificate is not valid: {exc}") from exc
        if expected is not None and proven != expected:
            raise PeerIdentityError(f"the peer is {proven}, not {expected}")
        return proven
