"""The OpenAPI 3.1 document of the HTTP API, which the server serves at /v1/openapi.json."""

from __future__ import annotations

import json

from plasm_core.records.sigstore import BUNDLE_TYPE
from plasm_core.version import __version__
from plasm_core.web.api_operations import (
    ENVELOPE_TYPE,
    EVENTS_TYPE,
    JOB_ID,
    LAST_EVENT,
    MODULE_DIGEST,
    ON_A_NODE,
    OPENMETRICS_TYPE,
    PREFER,
    RANGE,
    SCOPES,
    binary_answer,
    header,
    json_answer,
    operation,
    parameter,
)
from plasm_core.web.batch_operations import batch_paths
from plasm_core.web.batch_schemas import BATCH_SCHEMAS
from plasm_core.web.file_operations import file_paths
from plasm_core.web.file_schemas import FILE_SCHEMAS, FORM_ENCODING, FORM_PARTS
from plasm_core.web.schemas import MAX_LISTED, SCHEMAS, Schema, ref


def _output(stream: str) -> Schema:
    return {
        "get": operation(
            f"get{stream.capitalize()}",
            f"Read the job's {stream}.",
            {
                200: {
                    **binary_answer(
                        "The bytes. While the job runs: those so far, and with `follow` also those to come."
                    ),
                    "headers": {
                        "Phase-Attempt": header("The attempt that wrote it.", {"type": "integer"}),
                        "ETag": header("The digest of the output, in quotes; only once the job has ended."),
                    },
                },
                206: binary_answer("The range that was asked for."),
                304: {"description": "The output is the one that If-None-Match names."},
            },
            problems=(404, 410, 416, 422, *ON_A_NODE),
            parameters=(
                JOB_ID,
                RANGE,
                parameter(
                    "follow",
                    "query",
                    "Whether to send also what is written later, until the job ends.",
                    {"type": "boolean", "default": False},
                ),
            ),
            description="The bytes are what the node sent. Compare their digest with the receipt's before you rely on them.",
        )
    }


_LINKS = {
    name: {"operationId": name, "parameters": {"jobId": "$response.body#/jobId"}}
    for name in (
        *("getJob", "cancelJob", "followJob", "getStdout", "getStderr", "getReceipt", "getManifest"),
        "listFiles",
    )
}


def _jobs() -> Schema:
    accepted = {
        "Location": header("The path of the job."),
        "Preference-Applied": header("`wait=N`, if it was honoured."),
    }
    return {
        "/v1/jobs": {
            "post": operation(
                "submitJob",
                "Submit a job.",
                {
                    200: json_answer(
                        "Job",
                        "The job has ended within the wait that Prefer asked for.",
                        headers=accepted,
                        links=_LINKS,
                    ),
                    202: json_answer("Job", "The job is on the node's disk.", headers=accepted, links=_LINKS),
                },
                scope="submit",
                problems=(404, 409, 413, 415, 422, *ON_A_NODE),
                parameters=(PREFER,),
                body={
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": ref("Submission"),
                            "encoding": {
                                "module": {"contentType": "application/wasm, application/octet-stream"},
                                "manifest": {"contentType": "application/json"},
                                "job": {"contentType": "application/json"},
                                "stdin": {"contentType": "application/octet-stream, text/plain"},
                                **FORM_ENCODING,
                            },
                        }
                    },
                },
            ),
            "get": operation(
                "listJobs",
                "List the jobs of this token, the latest first.",
                {200: json_answer("Jobs", "The jobs.")},
                problems=(422,),
                parameters=(
                    parameter(
                        "limit",
                        "query",
                        "How many at most.",
                        {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 100},
                    ),
                    parameter("before", "query", "`next` of the page before.", {"type": "string"}),
                ),
            ),
        },
        "/v1/jobs/{jobId}": {
            "get": operation(
                "getJob",
                "Show a job.",
                {
                    200: json_answer(
                        "Job", "The job.", headers={"Preference-Applied": accepted["Preference-Applied"]}
                    )
                },
                problems=(404, *ON_A_NODE),
                parameters=(JOB_ID, PREFER),
            ),
            "delete": operation(
                "cancelJob",
                "Cancel a job. Its signed receipt then says `cancelled`, unless it had ended before.",
                {200: json_answer("Job", "The job, which has ended.")},
                scope="submit",
                problems=(404, *ON_A_NODE),
                parameters=(JOB_ID,),
            ),
        },
        "/v1/jobs/{jobId}/release": {
            "post": operation(
                "releaseJob",
                "Delete an ended job's inputs, outputs and receipt on the node.",
                {200: json_answer("Job", "The job.")},
                scope="submit",
                problems=(404, 409, *ON_A_NODE),
                parameters=(JOB_ID,),
            )
        },
        "/v1/jobs/{jobId}/events": {
            "get": operation(
                "followJob",
                "Follow a job: server-sent events.",
                {
                    200: {
                        "description": (
                            "Events: `status` (data: Job), `output` (data: Output), `restart` (data: attempt; drop the "
                            "output received so far), `end` (data: Job; the last one), `problem` (data: Problem; "
                            "connect again). Each id says how much output was received: sent back as Last-Event-ID, "
                            "the stream goes on there."
                        ),
                        "content": {EVENTS_TYPE: {"schema": {}}},
                    },
                    204: {"description": "Last-Event-ID is that of `end`: there is nothing more."},
                },
                problems=(404, 410, 422, *ON_A_NODE),
                parameters=(
                    JOB_ID,
                    LAST_EVENT,
                    parameter(
                        "output",
                        "query",
                        "Whether to send `output` too.",
                        {"type": "boolean", "default": True},
                    ),
                ),
            )
        },
        "/v1/jobs/{jobId}/stdout": _output("stdout"),
        "/v1/jobs/{jobId}/stderr": _output("stderr"),
        "/v1/jobs/{jobId}/receipt": {
            "get": operation(
                "getReceipt",
                "Read the job's receipt, signed by the node.",
                {
                    200: {
                        "description": "The receipt, by Accept: a DSSE envelope (also as application/json), or a Sigstore bundle.",
                        "content": {
                            ENVELOPE_TYPE: {"schema": ref("Envelope")},
                            "application/json": {"schema": ref("Envelope")},
                            BUNDLE_TYPE: {"schema": {"type": "object"}},
                        },
                    }
                },
                problems=(404, 406, 409, 410, *ON_A_NODE),
                parameters=(JOB_ID,),
            )
        },
        "/v1/jobs/{jobId}/manifest": {
            "get": operation(
                "getManifest",
                "Read the exact bytes of the job's manifest: their SHA-256 is the job id.",
                {200: binary_answer("The manifest.", "application/json")},
                problems=(404,),
                parameters=(JOB_ID,),
            )
        },
        "/v1/jobs/{jobId}/handle": {
            "get": operation(
                "getHandle",
                "Read the job's handle, which opens the job for `plasm` on this machine.",
                {200: json_answer("Handle", "The handle, a secret.")},
                scope="submit",
                problems=(404,),
                parameters=(JOB_ID,),
            )
        },
    }


def _others() -> Schema:
    return {
        "/v1/events": {
            "get": operation(
                "followJobs",
                "Follow all jobs of this token: server-sent events.",
                {
                    200: {
                        "description": (
                            "Events called `job` (data: Job): at first the jobs that have not ended, then each job "
                            "whose state changes."
                        ),
                        "content": {EVENTS_TYPE: {"schema": {}}},
                    }
                },
                parameters=(LAST_EVENT,),
            )
        },
        "/v1/modules/{digest}": {
            "put": operation(
                "putModule",
                "Send a module, for jobs that name it by its digest.",
                {
                    200: json_answer("Module", "This token has sent it before."),
                    201: json_answer("Module", "The module is stored."),
                },
                scope="submit",
                problems=(404, 413, 422, 503),
                parameters=(MODULE_DIGEST,),
                body={"required": True, "content": {"application/wasm": {"schema": {}}}},
            ),
            "get": operation(
                "getModule",
                "Read a module that this token has sent.",
                {200: binary_answer("The module.", "application/wasm")},
                problems=(404,),
                parameters=(MODULE_DIGEST,),
            ),
        },
        "/v1/webhook-secret": {
            "get": operation(
                "getWebhookSecret",
                "Read the secret by which messages about this token's jobs are signed.",
                {200: json_answer("WebhookSecret", "The secret.")},
                scope="submit",
            )
        },
        "/v1/node": {
            "get": operation(
                "getNode", "Show the daemon and its health.", {200: json_answer("Node", "The daemon.")}
            )
        },
        "/v1/node/history": {
            "get": operation(
                "getHistory",
                "Read the daemon's counters over the last hour, or since this server's start.",
                {200: json_answer("History", "The samples, the oldest first.")},
            )
        },
        "/v1/peers": {
            "get": operation(
                "listPeers",
                "Search the network for nodes, the best first.",
                {200: json_answer("Peers", "The nodes that answered.")},
                problems=ON_A_NODE,
            )
        },
        "/v1/openapi.json": {
            "get": operation(
                "getDocument",
                "Read this document.",
                {200: binary_answer("The document.", "application/json")},
                scope=None,
            )
        },
        "/healthz": {
            "get": operation(
                "getHealth",
                "Whether this server works.",
                {200: json_answer("Health", "It does.")},
                scope=None,
            )
        },
        "/readyz": {
            "get": operation(
                "getReadiness",
                "Whether the daemon answers.",
                {200: json_answer("Health", "It does.")},
                scope=None,
                problems=(503,),
            )
        },
        "/metrics": {
            "get": operation(
                "getMetrics",
                "Read the counters of this server and of the daemon.",
                {200: binary_answer("The counters, in the OpenMetrics text format.", OPENMETRICS_TYPE)},
            )
        },
    }


def document() -> Schema:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plasm",
            "version": __version__,
            "summary": "Run WebAssembly modules and get signed receipts that anyone can check.",
            "description": (
                "Jobs, their outputs and receipts over HTTP. Errors are problems (RFC 9457) with a stable `code`. "
                "Names of fields in JSON are in lowerCamelCase, but for a job's description and manifest, whose "
                "names are those of their own formats. The page of the server at / finds its token in the "
                "fragment of its address: #token=TOKEN. docs/http.md explains the API by examples."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {**_jobs(), **file_paths(), **batch_paths(), **_others()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `plasm web token make`. Scopes: "
                    + "; ".join(f"{name}: {text}" for name, text in SCOPES.items())
                    + ". A Unix socket needs none.",
                }
            },
        },
    }


def _schemas() -> Schema:
    """Return `components`, in which both forms may have the parts of files."""
    found: Schema = {**SCHEMAS, **FILE_SCHEMAS, **BATCH_SCHEMAS}
    for name in ("Submission", "BatchSubmission"):
        found[name] = {**found[name], "properties": {**found[name]["properties"], **FORM_PARTS}}
    return found


def encoded() -> str:
    """Return the document in the form of its file, docs/openapi.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
