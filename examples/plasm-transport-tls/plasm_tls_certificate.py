"""Certificates that prove who a node is: its own key signs the certificate's key, in an extension.

It is the scheme of libp2p's TLS specification, with another extension and another prefix.
"""

import ssl
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm_core.records import PeerId

EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.55738.1.1")
PREFIX = b"plasm-transport-tls:"
KEY_BYTES, SIGNATURE_BYTES = 32, 64


def _spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def certified(identity):
    """Return a server's context with a fresh key, and a certificate by which a signer vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    proof = identity.peer_id.public_key + identity.sign(PREFIX + _spki(key.public_key()))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plasm")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.UnrecognizedExtension(EXTENSION, proof), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory() as directory:  # ssl takes files only
        file = Path(directory) / "certificate"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(file)
    return context


def proved(certificate):
    """Return the identity that a certificate proves. The handshake has proved that the other side has its key.

    Raises: ValueError.
    """
    found = x509.load_der_x509_certificate(certificate or b"")
    try:
        extension = found.extensions.get_extension_for_oid(EXTENSION).value
        proof = extension.value
        public_key, signature = proof[:KEY_BYTES], proof[KEY_BYTES:]
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, PREFIX + _spki(found.public_key()))
        return PeerId(public_key)
    except (x509.ExtensionNotFound, InvalidSignature) as exc:
        raise ValueError("its certificate proves no identity") from exc
