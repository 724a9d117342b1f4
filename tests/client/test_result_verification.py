"""What a node tells of a job, unsigned, beside what it signed."""

from __future__ import annotations

import pytest
import trio

from plasm_core.client.result_verification import Given, Judge
from plasm_core.config import Config
from plasm_core.errors import ReceiptRejectedError
from plasm_core.protocol.messages import Result, Status
from plasm_core.records import Handle, Outcome, Receipt
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.testing.claims import SIGNER, claim, receipt
from plasm_signer_ed25519.verifier import SignatureVerifier

SUCCESS = Outcome(kind="exited", code=0)
TRAPPED = Outcome(kind="trapped", trap="unreachable")


def judged(signed: Outcome, *, state: str, outcome: str | None) -> Receipt:
    """Judge an answer whose receipt says one thing, and whose status another."""
    said = receipt(outcome=signed, stdout=b"")
    status = Status(state=JobState(state), attempt=1, stdout_bytes=0, stderr_bytes=0, outcome=outcome)
    given = Given(
        handle=Handle(job_id=said.asked.job_id, secret=bytes(32), peer=SIGNER.peer_id),
        signer=SIGNER.peer_id,
        end=Result(status=status, envelope=claim(said).envelope.to_json().decode()),
        outputs={stream: OutputDigest() for stream in OutputStream},
    )
    found, _ = trio.run(Judge([SignatureVerifier()], Config()).judge, [given])
    return found


@pytest.mark.parametrize("outcome", ["exited", None])
def test_a_nodes_statement_of_its_own_signature_is_trusted(outcome: str | None) -> None:
    assert judged(SUCCESS, state="COMPLETE", outcome=outcome).result.outcome == SUCCESS


@pytest.mark.parametrize(
    ("signed", "state", "outcome"),
    [
        (TRAPPED, "COMPLETE", "exited"),
        (SUCCESS, "EXECUTOR_ERROR", "exited"),
        (SUCCESS, "COMPLETE", "timed_out"),
        (TRAPPED, "EXECUTOR_ERROR", "out_of_gas"),
    ],
)
def test_a_node_that_tells_another_end_than_it_signed_is_not_believed(
    signed: Outcome, state: str, outcome: str
) -> None:
    """With `timed_out` it could withdraw output that a receipt of success says nothing of."""
    with pytest.raises(ReceiptRejectedError, match="another outcome"):
        judged(signed, state=state, outcome=outcome)
