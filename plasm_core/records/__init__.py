"""The records that cross a boundary: frozen, validated on construction, without I/O."""

from plasm_core.records.claim import Claim, Laboratory
from plasm_core.records.digest import list_digest, sha256
from plasm_core.records.envelope import PAYLOAD_TYPE, Envelope, Signature, key_id, pae
from plasm_core.records.handle import Handle
from plasm_core.records.manifest import (
    CAPABILITIES,
    GAS_SCHEDULE,
    PROFILE,
    JobInput,
    Limits,
    Manifest,
    Retry,
    job_id,
    manifest_for,
    task_digest,
)
from plasm_core.records.observables import Observables
from plasm_core.records.outcome import Outcome
from plasm_core.records.peer import PeerId
from plasm_core.records.plan import Plan
from plasm_core.records.receipt import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Asked,
    Claims,
    Receipt,
    Result,
    RuntimeClaim,
)
from plasm_core.records.verdict import Decision, Opinion, Verdict

__all__ = [
    "CAPABILITIES",
    "GAS_SCHEDULE",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "PROFILE",
    "STATEMENT_TYPE",
    "Asked",
    "Claim",
    "Claims",
    "Decision",
    "Envelope",
    "Handle",
    "JobInput",
    "Laboratory",
    "Limits",
    "Manifest",
    "Observables",
    "Opinion",
    "Outcome",
    "PeerId",
    "Plan",
    "Receipt",
    "Result",
    "Retry",
    "RuntimeClaim",
    "Signature",
    "Verdict",
    "job_id",
    "key_id",
    "list_digest",
    "manifest_for",
    "pae",
    "sha256",
    "task_digest",
]
