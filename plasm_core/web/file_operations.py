"""The operations about files of jobs in the OpenAPI document."""

from __future__ import annotations

from plasm_core.web.api_operations import (
    JOB_ID,
    ON_A_NODE,
    RANGE,
    binary_answer,
    header,
    json_answer,
    operation,
    parameter,
)
from plasm_core.web.file_schemas import FILES_PER_PAGE, MAX_FILES_LISTED
from plasm_core.web.schemas import DIGEST, Schema

PATH = parameter(
    "path", "path", "The file's path in the job's tree; its slashes are those of the URL.", {"type": "string"}
)
FILES_PAGE = (
    parameter(
        "limit",
        "query",
        "How many at most.",
        {"type": "integer", "minimum": 1, "maximum": MAX_FILES_LISTED, "default": FILES_PER_PAGE},
    ),
    parameter("after", "query", "`next` of the page before.", {"type": "string"}),
)
_IF_NONE_MATCH = parameter("If-None-Match", "header", "An ETag that the client has.", {"type": "string"})
_IF_RANGE = parameter("If-Range", "header", "The ETag that Range belongs to.", {"type": "string"})
FILE_REQUEST = (RANGE, _IF_RANGE, _IF_NONE_MATCH)
_FAILURES = (404, 409, 410, 422, *ON_A_NODE)


def file_answers(*, kind: bool = False) -> dict[int, Schema]:
    """Return the answers that have the bytes of a file, or a part of them. `kind`: with the header Phase-Kind."""
    headers = {
        "ETag": header("The SHA-256 of the receipt, in quotes."),
        "Accept-Ranges": header("`bytes`."),
        "Content-Disposition": header("That a browser shall save it, with its name."),
    }
    if kind:
        headers["Phase-Kind"] = header("What it is.", {"type": "string", "enum": ["file", "tree"]})
    return {
        200: {**binary_answer("The bytes."), "headers": headers},
        206: {
            **binary_answer("The range that was asked for."),
            "headers": {**headers, "Content-Range": header("Which bytes these are.")},
        },
        304: {"description": "The bytes are those that If-None-Match names."},
    }


def file_paths() -> Schema:
    """Return the paths with their operations."""
    job = "/v1/jobs/{jobId}"
    unverified = (
        "The bytes are what the node sent. Compare their digest with the receipt's before you rely on them."
    )
    return {
        f"{job}/files": {
            "get": operation(
                "listFiles",
                "List the files that a job left.",
                {200: json_answer("LeftFiles", "The files, in the order of their outputs.")},
                problems=_FAILURES,
                parameters=(JOB_ID, *FILES_PAGE),
                description="This server compares the listings with the digests that the receipt states, and does "
                "not verify the receipt.",
            )
        },
        f"{job}/files/{{path}}": {
            "get": operation(
                "getFile",
                "Read a file that a job left.",
                file_answers(),
                problems=(*_FAILURES, 416),
                parameters=(JOB_ID, PATH, *FILE_REQUEST),
                description=unverified,
            )
        },
        f"{job}/output": {
            "get": operation(
                "getOutput",
                "Read an output of a job as its node sends it: the bytes of a file, or the pack of a directory.",
                file_answers(kind=True),
                problems=(*_FAILURES, 416),
                parameters=(
                    JOB_ID,
                    parameter(
                        "path",
                        "query",
                        "One of the manifest's outputs; `.` is the root.",
                        {"type": "string"},
                        required=True,
                    ),
                    *FILE_REQUEST,
                ),
                description=unverified,
            )
        },
        "/v1/trees/{digest}": {
            "get": operation(
                "getTree",
                "Whether a job may name a tree of files that this token has sent.",
                {200: json_answer("Tree", "It may.")},
                problems=(404, 503),
                parameters=(parameter("digest", "path", "SHA-256 of the tree's listing.", DIGEST),),
            )
        },
    }
