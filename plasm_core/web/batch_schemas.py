"""The JSON schemas of batches in the HTTP API (OpenAPI's `components`)."""

from __future__ import annotations

from plasm_core.batch.rows import BatchJobState
from plasm_core.web.schemas import DIGEST, Schema, object_of, ref, text, time, whole

MAX_BATCH_JOBS_LISTED = 500
"""The most jobs of a batch that one answer lists."""
_STATES = ("waiting", "running", "ended", "cancelled", "failed")

BATCH_ID: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
    "description": "The id of a batch, 32 hexadecimal digits.",
}

BATCH_SCHEMAS: dict[str, Schema] = {
    "Batch": object_of(
        {
            "batchId": BATCH_ID,
            "name": text("The name that the request gave, or the module's file name."),
            "module": {**DIGEST, "description": "SHA-256 of the module that all jobs run."},
            "createdAt": time("When this server stored it."),
            "finishedAt": time("When it ended."),
            "state": {
                "type": "string",
                "enum": list(_STATES),
                "description": "ended: each job has its end; failed: it was given up, because of its `problem`.",
            },
            "jobs": whole("How many jobs it has."),
            "counts": object_of(
                {
                    "waiting": whole("Jobs that are still to be sent."),
                    "sent": whole("Jobs that the node has."),
                    "succeeded": whole("Jobs that exited with code 0."),
                    "failed": whole("Jobs with a receipt of another outcome."),
                    "error": whole("Jobs without a receipt."),
                    "cancelled": whole("Jobs that were cancelled."),
                },
                description="How many jobs are in which state.",
            ),
            "problem": text("Why it was given up, or why it does not get on now."),
            "released": {"type": "boolean", "description": "Whether it was deleted by this request."},
        },
        ["batchId", "name", "module", "createdAt", "state", "jobs", "counts", "released"],
        "Many jobs of one module.",
    ),
    "Batches": object_of(
        {"batches": {"type": "array", "items": ref("Batch")}},
        description="Batches of this token, the latest first.",
    ),
    "BatchJob": object_of(
        {
            "number": whole("Its number, from 0 in the order of the lines."),
            "input": text("What its line is called in messages."),
            "state": {"type": "string", "enum": [state.value for state in BatchJobState]},
            "jobId": {**DIGEST, "description": "SHA-256 of its manifest; once it was sent."},
            "taskDigest": DIGEST,
            "outcome": ref("Outcome"),
            "gasUsed": whole("The gas that it used."),
            "node": text("The PeerId of the node that ran it."),
            "durationMs": whole("Milliseconds from sending it to its verified result."),
            "reason": text("Why it did not succeed, in words."),
        },
        ["number", "input", "state"],
        "A job of a batch. Fields that say nothing are left out.",
    ),
    "BatchJobs": object_of(
        {
            "jobs": {"type": "array", "items": ref("BatchJob"), "maxItems": MAX_BATCH_JOBS_LISTED},
            "next": text("`after` of the next page; not there on the last."),
        },
        ["jobs"],
        "Jobs of a batch, in order.",
    ),
    "BatchSubmission": {
        "type": "object",
        "description": "A batch.",
        "properties": {
            "module": text("The module's bytes.", contentMediaType="application/wasm"),
            "moduleDigest": {
                **DIGEST,
                "description": "Instead of `module`: one that this token has sent before.",
            },
            "jobs": text(
                "The jobs, a JobDescription a line.", contentMediaType="application/x-ndjson", minLength=1
            ),
            "batchId": {
                **BATCH_ID,
                "description": "An id of the client's choice, 32 random hexadecimal digits: sent twice, it gives one batch.",
            },
            "name": text("Shown where the batch is spoken of.", maxLength=256),
        },
        "required": ["jobs"],
    },
}
