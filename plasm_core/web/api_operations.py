"""The parts of the OpenAPI document that its operations share: answers, parameters and problems."""

from __future__ import annotations

from typing import Any

from plasm_core.web.schemas import DIGEST, Schema, ref

PROBLEM_TYPE = "application/problem+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
EVENTS_TYPE = "text/event-stream"
OPENMETRICS_TYPE = "application/openmetrics-text"
MAX_WAIT_S = 60
"""The longest `Prefer: wait=N` that is honoured, in seconds."""
SCOPES = {
    "submit": "submit, cancel and release jobs, and read one's own",
    "read": "read one's own jobs, the node's state and the peers",
    "admin": "all, and the jobs of every token",
}

_PROBLEMS = {
    400: "The request is not well formed.",
    401: "No token, or none that is known.",
    403: "The token's scopes do not permit it, or the Host or Origin is not one of this server.",
    404: "There is no such job of this token, or no such path.",
    405: "The path has no such method.",
    406: "None of the media types in Accept can be served.",
    408: "The request came too slowly.",
    409: "The job is not in a state for this.",
    410: "The job's outputs were deleted.",
    413: "The request is larger than this server or the node takes.",
    415: "The body has another media type.",
    416: "The output does not have that range.",
    422: "The node refuses the job, or a field is wrong.",
    429: "Too much at once: try again later.",
    500: "The server failed.",
    502: "The daemon answered in a way that cannot be used.",
    503: "The daemon does not answer, or has no room.",
    504: "The daemon took too long.",
}
_ALWAYS = (400, 401, 403, 408, 429, 500)
ON_A_NODE = (502, 503, 504)


def problem_answer(status: int) -> Schema:
    """Return the OpenAPI response of a failure: a problem document (RFC 9457)."""
    return {
        "description": _PROBLEMS[status],
        "content": {PROBLEM_TYPE: {"schema": ref("Problem")}},
    }


def json_answer(schema: str, description: str, **more: Any) -> Schema:
    """Return the OpenAPI response whose body is JSON. `schema`: its name in `components`."""
    return {
        "description": description,
        "content": {"application/json": {"schema": ref(schema)}},
        **more,
    }


def binary_answer(description: str, media_type: str = "application/octet-stream") -> Schema:
    """Return the OpenAPI response whose body is bytes of any content."""
    return {"description": description, "content": {media_type: {"schema": {}}}}


def header(description: str, schema: Schema | None = None) -> Schema:
    """Return the OpenAPI description of a response's header, a string if no schema is given."""
    return {"description": description, "schema": schema or {"type": "string"}}


def parameter(name: str, where: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """Return the OpenAPI parameter of a request. `where`: `path`, `query` or `header`."""
    return {
        "name": name,
        "in": where,
        "required": required or where == "path",
        "description": description,
        "schema": schema,
    }


JOB_ID = parameter("jobId", "path", "The job id.", DIGEST)
MODULE_DIGEST = parameter("digest", "path", "The module's SHA-256.", DIGEST)
PREFER = parameter(
    "Prefer",
    "header",
    f"`wait=N`: answer when the job has ended, or after N seconds, at most {MAX_WAIT_S} (RFC 7240).",
    {"type": "string"},
)
LAST_EVENT = parameter(
    "Last-Event-ID",
    "header",
    "The id of the last event that was received.",
    {"type": "string", "maxLength": 64},
)
TRACE_PARENT = parameter(
    "traceparent", "header", "W3C Trace Context: its trace id is in the server's log.", {"type": "string"}
)
RANGE = parameter("Range", "header", "`bytes=FIRST-LAST`, as in RFC 9110.", {"type": "string"})


def operation(
    name: str,
    summary: str,
    answers: dict[int, Schema],
    *,
    scope: str | None = "read",
    problems: tuple[int, ...] = (),
    parameters: tuple[Schema, ...] = (),
    body: Schema | None = None,
    description: str | None = None,
) -> Schema:
    """Return the OpenAPI operation of one method and path.

    `name`: its operationId. `answers`: the responses by status. `scope`: what a token must allow, None for nobody's
    token. `problems`: the statuses of failures beside those that every operation may have.
    """
    always = _ALWAYS if scope else (400, 401, 403, 429, 500)
    failures = sorted({*always, *problems})
    return {
        "operationId": name,
        "summary": summary,
        **({"description": description} if description else {}),
        "parameters": [*parameters, TRACE_PARENT],
        **({"requestBody": body} if body else {}),
        "responses": {
            **{str(status): answer for status, answer in answers.items()},
            **{str(status): problem_answer(status) for status in failures},
        },
        "security": [{"token": [scope]}] if scope else [],
    }
