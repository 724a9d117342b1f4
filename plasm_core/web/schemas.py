"""The JSON schemas of what the HTTP API takes and returns (OpenAPI's `components`)."""

from __future__ import annotations

from typing import Any

from plasm_core.records.fields import MAX_INTEGER
from plasm_core.records.job import JobState
from plasm_core.records.outcome import CLAIMED, RECHECKABLE
from plasm_core.records.schema import job_schema
from plasm_core.trap_kinds import TRAP_KINDS

Schema = dict[str, Any]

MAX_LISTED = 1000
"""The most jobs that one answer lists."""


def ref(name: str) -> Schema:
    """Return the reference to the schema with a name in `components`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str, **more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def whole(description: str, minimum: int = 0) -> Schema:
    """Return the schema of an integer from `minimum` to 2^53 - 1."""
    return {"type": "integer", "minimum": minimum, "maximum": MAX_INTEGER, "description": description}


def time(description: str) -> Schema:
    """Return the schema of a time, a string as in RFC 3339."""
    return text(description, format="date-time")


DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "A SHA-256 in hexadecimal."}


def object_of(properties: Schema, required: list[str] | None = None, description: str = "") -> Schema:
    """Return the schema of an object. `required`: the names of the properties it must have, None for all."""
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def _described(schema: Schema) -> Schema:
    kept = {name: value for name, value in schema.items() if name not in ("$schema", "$id", "title")}
    properties = dict(kept["properties"])
    del properties["stdin_file"]  # a path of the server's machine
    rules = [rule for rule in kept["allOf"] if "stdin_file" not in rule["not"]["required"]]
    return {**kept, "properties": properties, "allOf": rules}


OUTCOME = object_of(
    {
        "kind": {"type": "string", "enum": [*RECHECKABLE, *CLAIMED]},
        "code": whole("The exit code; only of `exited`."),
        "trap": {"type": "string", "enum": list(TRAP_KINDS), "description": "Only of `trapped`."},
        "detail": text("What the node says; only of outcomes that no other node can check."),
    },
    ["kind"],
    "How the run ended.",
)

JOB = object_of(
    {
        "jobId": {**DIGEST, "description": "SHA-256 of the manifest's bytes."},
        "taskDigest": {**DIGEST, "description": "Equal task digests mean equal output, exit code and gas."},
        "module": {**DIGEST, "description": "SHA-256 of the module."},
        "name": text("The module's file name, or the name that the job's description gave."),
        "submittedAt": time("When this server accepted the request."),
        "state": {
            "type": "string",
            "enum": [*(state.value for state in JobState), "UNKNOWN"],
            "description": "UNKNOWN: the node has no such job any more, and its end was not seen here.",
        },
        "attempt": whole("How often the node has started it."),
        "position": whole("The place in the queue; only while it waits.", 1),
        "waiting": text("Why it waits, in words; only while it waits."),
        "stdoutBytes": whole("The length of stdout so far, in bytes."),
        "stderrBytes": whole("The length of stderr so far, in bytes."),
        "acceptedAt": time("When the node stored it."),
        "startedAt": time("When the node started it."),
        "finishedAt": time("When it ended."),
        "expiresAt": time("When the node will delete its outputs and receipt."),
        "outcome": ref("Outcome"),
        "node": text("The PeerId of the node that has it."),
        "files": ref("JobFiles"),
        "webhook": object_of(
            {
                "state": {"type": "string", "enum": ["waiting", "delivered", "failed"]},
                "attempts": whole("How often the message was sent."),
                "problem": text("Why the last attempt failed."),
            },
            ["state", "attempts"],
            "The delivery of the job's webhook; only if the job names one.",
        ),
        "released": {"type": "boolean", "description": "Whether its inputs and outputs were deleted."},
    },
    [
        *("jobId", "taskDigest", "module", "name", "submittedAt", "state"),
        *("attempt", "stdoutBytes", "stderrBytes", "node", "released"),
    ],
    "A job of this token. Fields that say nothing are left out.",
)

PROBLEM = object_of(
    {
        "type": text("urn:phase:problem: and the code.", format="uri-reference"),
        "title": text("The code in words."),
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": text("A stable name for programs.", pattern="^[a-z][a-z0-9_]*$"),
        "detail": text("What was wrong with what."),
        "hint": text("What to do about it."),
        "retryAfterS": whole("Seconds after which another try may succeed."),
        "errors": {
            "type": "array",
            "description": "Each wrong field, if the request has several.",
            "items": object_of({"path": text("Where it is."), "message": text("What is wrong.")}),
        },
        "jobId": {**DIGEST, "description": "The job that it is about."},
    },
    ["type", "title", "status", "code", "detail"],
    "An error (RFC 9457). `code` is the protocol's reason where the node refuses a job.",
)

CHECK = object_of(
    {
        "name": text("What was checked."),
        "status": {"type": "string", "enum": ["ok", "warning", "failure"]},
        "found": text("What was found."),
        "hint": text("What to do about it."),
    },
    ["name", "status", "found"],
    "One check of `plasm doctor`.",
)

PEER = object_of(
    {
        "peerId": text("Its PeerId."),
        "addresses": {"type": "array", "items": {"type": "string"}},
        "latencyS": {"type": "number", "minimum": 0, "description": "Seconds that its answer took."},
        "known": {
            "type": "boolean",
            "description": "Whether the operator's configuration names it as known.",
        },
        "capabilities": {"type": "object", "description": "Its capability record, verified."},
    },
    description="A node of the network that answered.",
)

ENVELOPE = object_of(
    {
        "payloadType": text("The media type of the payload."),
        "payload": text("The statement, in base64."),
        "signatures": {
            "type": "array",
            "minItems": 1,
            "items": object_of(
                {"keyid": text("A hint to the signer's key, no proof."), "sig": text("In base64.")}
            ),
        },
    },
    description="A receipt's DSSE envelope (docs/receipts.md).",
)

SUBMISSION: Schema = {
    "type": "object",
    "description": "A job. The parts may come in any order, but `module`, `stdin` and files are best sent last.",
    "properties": {
        "module": text("The module's bytes.", contentMediaType="application/wasm"),
        "moduleDigest": {
            **DIGEST,
            "description": "Instead of `module`: one that this token has sent before.",
        },
        "manifest": text(
            "The manifest's exact bytes, which fix the job id: sent twice, they give one job. "
            "Without it the server makes one of the other parts, with a fresh nonce.",
            contentMediaType="application/json",
            maxLength=65_536,
        ),
        "job": ref("JobDescription"),
        "args": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Arguments, one in each part; instead of those of `job`.",
        },
        "env": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Variables as NAME=VALUE, one in each part; instead of those of `job`.",
        },
        "stdin": text(
            "Standard input; instead of that of `job`.", contentMediaType="application/octet-stream"
        ),
        "webhook": text(
            "An https URL that gets a message when the job has ended, signed as Standard Webhooks says. "
            "Only hosts that the operator allows.",
            format="uri",
            maxLength=2048,
        ),
    },
}

OUTPUT_EVENT = object_of(
    {
        "stream": {"type": "string", "enum": ["stdout", "stderr"]},
        "attempt": whole("The attempt that wrote it."),
        "offset": whole("Where it begins, in bytes."),
        "data": text("The bytes, in base64.", contentEncoding="base64"),
    },
    description="`data` of an event called `output`.",
)

SCHEMAS: dict[str, Schema] = {
    "Job": JOB,
    "Jobs": object_of(
        {
            "jobs": {"type": "array", "items": ref("Job"), "maxItems": MAX_LISTED},
            "next": text("`before` of the next page; not there on the last."),
        },
        ["jobs"],
        "Jobs of this token, the latest first.",
    ),
    "JobDescription": _described(job_schema()),
    "Submission": SUBMISSION,
    "Outcome": OUTCOME,
    "Output": OUTPUT_EVENT,
    "Handle": object_of({"jobId": DIGEST, "handle": text("Keep it like a password.")}),
    "WebhookSecret": object_of({"secret": text("whsec_ and base64: keep it like a password.")}),
    "Module": object_of({"digest": DIGEST, "sizeBytes": whole("Its length in bytes.")}),
    "Envelope": ENVELOPE,
    "Node": object_of(
        {
            "peerId": text("The daemon's PeerId; not there if no daemon answers."),
            "version": text("The version of this server."),
            "capabilities": {"type": "object", "description": "The daemon's capability record."},
            "checks": {"type": "array", "items": ref("Check")},
        },
        ["version", "checks"],
        "The daemon and its health.",
    ),
    "History": object_of(
        {
            "stepS": {"type": "number", "description": "Seconds from one sample to the next."},
            "samples": {"type": "array", "items": ref("Sample"), "maxItems": 360},
        },
        ["stepS", "samples"],
        "Samples of the daemon's counters. Where it did not answer, they are missing.",
    ),
    "Sample": object_of(
        {
            "at": {"type": "string", "format": "date-time", "description": "When it was taken."},
            "waiting": whole("Jobs that wait."),
            "running": whole("Jobs that run."),
            "ended": whole("Jobs that have ended since the daemon's start."),
            "gas": {"type": "number", "minimum": 0, "description": "Gas of jobs since the daemon's start."},
            "exited": whole("Jobs that exited, of those that ended."),
            "failed": whole("Jobs that trapped, or reached their limit of gas or output."),
            "claimed": whole("Jobs that were timed out or cancelled, or that the node failed."),
        },
        ["at", "waiting", "running", "ended", "gas", "exited", "failed", "claimed"],
    ),
    "Check": CHECK,
    "Peer": PEER,
    "Peers": object_of(
        {
            "peers": {"type": "array", "items": ref("Peer")},
            "network": {"type": "boolean", "description": "Whether this server may search a network."},
        }
    ),
    "Health": object_of({"status": {"type": "string", "enum": ["ok", "unavailable"]}}),
    "Problem": PROBLEM,
}
