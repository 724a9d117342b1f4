"""A batch and its jobs as JSON of the HTTP API."""

from __future__ import annotations

from typing import Any

import attrs

from plasm_core.batch.rows import JobSummary, stored_outcome
from plasm_core.records import Manifest, job_id
from plasm_core.records.converter import unstructure
from plasm_core.web.job_json import moment
from plasm_core.web.web_batch import WebBatch


def batch_json(batch: WebBatch, *, released: bool = False) -> dict[str, Any]:
    """Return a batch as JSON data. Blocks."""
    counts = batch.now()
    found: dict[str, Any] = {
        "batchId": batch.batch_id,
        "name": batch.name,
        "module": batch.module,
        "createdAt": moment(batch.created_at),
        "state": batch.state.value,
        "jobs": counts.total,
        "counts": attrs.asdict(counts),
        "released": released,
    }
    if batch.finished_at is not None:
        found["finishedAt"] = moment(batch.finished_at)
    if batch.problem is not None:
        found["problem"] = batch.problem
    return found


def batch_job_json(job: JobSummary) -> dict[str, Any]:
    """Return a job of a batch as JSON data."""
    found: dict[str, Any] = {"number": job.number, "input": job.label, "state": job.state.value}
    if job.manifest is not None:
        found["jobId"] = job_id(job.manifest)
        found["taskDigest"] = Manifest.from_json(job.manifest).task_digest
    if (outcome := stored_outcome(job.outcome)) is not None:
        told = unstructure(outcome)
        found["outcome"] = {name: value for name, value in told.items() if value is not None}
        found["gasUsed"] = job.gas_used
    if job.peer is not None:
        found["node"] = job.peer
    if job.duration_ms is not None:
        found["durationMs"] = job.duration_ms
    if job.state.has_ended and job.reason:
        found["reason"] = job.reason
    return found
