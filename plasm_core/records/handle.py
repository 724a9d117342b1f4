"""The handle: the submitter's secret reference to a job, without which its output cannot be fetched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records.fields import constrained, digest, raw_bytes
from plasm_core.records.peer import PeerId

_PREFIX = "phase0-"


@attrs.frozen(kw_only=True)
class Handle:
    """A job id (hexadecimal), a 32-byte secret, and the node that has the job.

    As text: `phase0-`, then unpadded base64url of job id ‖ secret ‖ PeerId (binary) ‖ checksum. The checksum is the
    first 4 bytes of the SHA-256 of what precedes it, so that a truncated handle is detected.
    """

    job_id: str = constrained(digest())
    secret: bytes = constrained(raw_bytes(32), shown=False)
    peer: PeerId = attrs.field(validator=attrs.validators.instance_of(PeerId))

    def __str__(self) -> str:
        body = bytes.fromhex(self.job_id) + self.secret + self.peer.multihash
        whole = body + hashlib.sha256(body).digest()[:4]
        return _PREFIX + base64.urlsafe_b64encode(whole).rstrip(b"=").decode()

    @classmethod
    def new(cls, job_id: str, peer: PeerId) -> Handle:
        """Make a handle with a fresh secret."""
        return cls(job_id=job_id, secret=secrets.token_bytes(32), peer=peer)

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Parse a handle's text. Raises: `InvalidRecordError`."""

        def invalid(problem: str) -> InvalidRecordError:
            return InvalidRecordError("handle", [("", problem)])

        if not re.fullmatch(_PREFIX + "[A-Za-z0-9_-]{1,256}", text):
            raise invalid(f"expected {_PREFIX}… and base64url")
        encoded = text[len(_PREFIX) :]
        try:
            whole = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except binascii.Error:
            raise invalid("cut short or mistyped") from None
        if base64.urlsafe_b64encode(whole).rstrip(b"=").decode() != encoded:
            raise invalid("cut short or mistyped")
        body, checksum = whole[:-4], whole[-4:]
        if not hmac.compare_digest(hashlib.sha256(body).digest()[:4], checksum):
            raise invalid("cut short or mistyped")
        try:
            peer = PeerId.from_multihash(body[64:])
        except ValueError as exc:
            raise invalid(str(exc)) from None
        return cls(job_id=body[:32].hex(), secret=body[32:64], peer=peer)

    def token(self, peer: PeerId | None = None) -> bytes:
        """Return the token for a node: HMAC-SHA256(secret, the PeerId's multihash), 32 bytes."""
        return hmac.new(self.secret, (peer or self.peer).multihash, hashlib.sha256).digest()
