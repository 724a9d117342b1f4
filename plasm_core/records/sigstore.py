"""An envelope as a Sigstore bundle, which cosign and the sigstore libraries read."""

from __future__ import annotations

import json

import attrs

from plasm_core.records.envelope import Envelope

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def bundle(envelope: Envelope) -> bytes:
    """Return a Sigstore bundle, version 0.3: the envelope with its first signature, and the hint to its key.

    A bundle has exactly one signature; verifiers refuse one with more.
    """
    envelope = attrs.evolve(envelope, signatures=envelope.signatures[:1])
    return json.dumps(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": envelope.signatures[0].key_id},
                "tlogEntries": [],
            },
            "dsseEnvelope": json.loads(envelope.to_json()),
        },
        separators=(",", ":"),
    ).encode()
