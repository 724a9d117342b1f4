"""A job as JSON of the HTTP API."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import attrs

from plasm_core.protocol.messages import Status
from plasm_core.records import Envelope, Manifest, Receipt
from plasm_core.records.converter import unstructure
from plasm_core.records.job import JobState
from plasm_core.records.json_names import camel
from plasm_core.web.job_table import WebJob

UNKNOWN = "UNKNOWN"


def receipt_of(envelope: str) -> Receipt:
    """Return the receipt in an envelope. Its signature is not checked. Raises: `InvalidRecordError`."""
    return Receipt.from_statement(Envelope.from_json(envelope.encode()).payload)


def status_json(status: Status, envelope: str | None) -> dict[str, Any]:
    """Return a status as JSON data; with its receipt, the outcome has its details."""
    fields = {camel(name): value for name, value in unstructure(status).items() if value is not None}
    fields.pop("outcome", None)
    if envelope is not None:
        outcome = unstructure(receipt_of(envelope).result.outcome)
        fields["outcome"] = {name: value for name, value in outcome.items() if value is not None}
    elif status.outcome is not None:
        fields["outcome"] = {"kind": status.outcome}
    return fields


def job_json(job: WebJob, status: dict[str, Any] | None) -> dict[str, Any]:
    """Return a job as JSON data. `status` is None if no node knows the job any more."""
    manifest = job.manifest
    found = status or job.status or lost()
    return {
        "jobId": job.job_id,
        "taskDigest": manifest.task_digest,
        "module": manifest.module,
        "name": job.name,
        "submittedAt": moment(job.submitted_at),
        "node": str(job.peer),
        "released": job.released,
        **_files(manifest),
        **found,
        **_waiting(found),
        **_webhook(job),
    }


def has_ended(status: dict[str, Any]) -> bool:
    """Return whether a job has its result, by its status as JSON data."""
    state = status["state"]
    return state == UNKNOWN or not JobState(state).live


def moment(value: datetime) -> str:
    """Return a time in the form of RFC 3339, in UTC, to the millisecond."""
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lost() -> dict[str, Any]:
    """Return the status of a job that no node knows any more."""
    return {"state": UNKNOWN, "attempt": 0, "stdoutBytes": 0, "stderrBytes": 0}


def _waiting(status: dict[str, Any]) -> dict[str, str]:
    if status["state"] != JobState.QUEUED:
        return {}
    before = status.get("position", 1) - 1
    if not before:
        return {"waiting": "it is the next: it waits for processors and memory that running jobs have"}
    return {"waiting": f"{before} {'job waits' if before == 1 else 'jobs wait'} before it"}


def _files(manifest: Manifest) -> dict[str, dict[str, Any]]:
    files = manifest.files
    if files is None:
        return {}
    limits = {camel(name): value for name, value in attrs.asdict(files.limits).items()}
    told = {
        "tree": files.tree,
        "readOnly": list(files.read_only),
        "outputs": list(files.outputs),
        "limits": limits,
    }
    return {"files": told}


def _webhook(job: WebJob) -> dict[str, dict[str, Any]]:
    if job.webhook is None:
        return {}
    told: dict[str, Any] = {"state": job.webhook.state, "attempts": job.webhook.attempts}
    return {"webhook": told | ({"problem": job.webhook.problem} if job.webhook.problem else {})}
