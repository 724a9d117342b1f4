"""A receipt of one job, all that can be expected of it, and verifiers that answer on demand."""

from collections.abc import Sequence
from typing import Any

import attrs

from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    Claim,
    Decision,
    Envelope,
    JobInput,
    Opinion,
    Verdict,
    list_digest,
    sha256,
)
from plasm_core.verification import Expectation, verify
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.receipts import (
    MODULE,
    OTHER_SIGNER,
    SIGNER,
    envelope,
    manifest,
    outputs_of,
    receipt,
)

ACCEPT, REJECT, UNDECIDED = Decision.ACCEPT, Decision.REJECT, Decision.UNDECIDED
ME, OTHER = SIGNER.peer_id, OTHER_SIGNER.peer_id
INPUTS = JobInput(args=(b"a",), stdin=b"in")
MANIFEST = manifest(inputs=INPUTS, args=sha256(b"x"), stdin=sha256(b"in"))
SIGNED = envelope(receipt(of=MANIFEST, stderr=b"err"))
WHOLE = Expectation(
    trusted=frozenset({ME}),
    peer=ME,
    manifest_json=MANIFEST.to_json(),
    module=sha256(MODULE),
    args=sha256(b"x"),
    env=list_digest(()),
    stdin=sha256(b"in"),
    outputs=outputs_of(stderr=b"err"),
)
TRUST = Expectation(trusted=frozenset({ME}))


@attrs.frozen
class Says(Verifier):
    """Answers what it is told to, whatever it is shown."""

    name = "says"

    answer: Any

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Decision):
            return Opinion(verifier=self.name, decision=self.answer, reasons=(f"says {self.answer.value}",))
        return self.answer  # type: ignore[no-any-return]


def judged(
    signed: Envelope | bytes = SIGNED,
    expectation: Expectation = WHOLE,
    verifiers: Sequence[Verifier] = (SignatureVerifier(),),
) -> Verdict:
    data = signed if isinstance(signed, bytes) else signed.to_json()
    return verify(data, expectation, verifiers)[1]
