"""The JSON schemas of the files of jobs in the HTTP API (OpenAPI's `components`)."""

from __future__ import annotations

from plasm_core.records.files import MAX_PATHS
from plasm_core.records.schema import files_schema
from plasm_core.web.schemas import DIGEST, Schema, object_of, ref, text, whole

MAX_FILES_LISTED = 10_000
"""The most files that one answer lists."""
FILES_PER_PAGE = 1000
MAX_LISTED_POSITION = 2**22
"""More than the entries of all outputs of a job: `MAX_PATHS` outputs of one tree."""

_PATHS: Schema = {"type": "array", "maxItems": MAX_PATHS, "items": {"type": "string"}}

FORM_PARTS: Schema = {
    "file": {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "description": "Files of the job, one in each part: the part's filename is the path in the job's tree.",
    },
    "tree": text(
        "An archive, .tar (also .gz, .bz2, .xz) or .zip, whose entries begin at the root of the job's tree.",
        contentMediaType="application/octet-stream",
    ),
    "pack": text(
        'Instead of `file` and `tree`: the whole tree exactly, as docs/protocol.md has it in "Jobs with files".',
        contentMediaType="application/octet-stream",
    ),
    "treeDigest": {
        **DIGEST,
        "description": "Instead of `file`, `tree` and `pack`: a tree that this token has sent before.",
    },
    "outputs": {
        "type": "array",
        "maxItems": MAX_PATHS,
        "items": {"type": "string", "maxLength": 1024},
        "description": "Paths of the job's tree that are kept, one in each part. One with a slash at its end is a "
        "directory that is made.",
    },
    "files": ref("FilesDescription"),
}
FORM_ENCODING: Schema = {
    "file": {"contentType": "application/octet-stream"},
    "tree": {"contentType": "application/x-tar, application/gzip, application/zip, application/octet-stream"},
    "pack": {"contentType": "application/octet-stream"},
    "files": {"contentType": "application/json"},
}

JOB_FILES = object_of(
    {
        "tree": {**DIGEST, "description": "SHA-256 of the listing of its input tree."},
        "readOnly": {**_PATHS, "description": "Paths below which it can change nothing."},
        "outputs": {**_PATHS, "description": "Paths that are kept."},
        "limits": object_of(
            {
                "dataBytes": whole("The most bytes that it may write."),
                "entries": whole("The most names that its tree may have."),
                "descriptors": whole("The most files that it may have open."),
            }
        ),
    },
    description="The files of a job as its manifest has them; only of a job with files.",
)

FILE_SCHEMAS: dict[str, Schema] = {
    "FilesDescription": files_schema(),
    "JobFiles": JOB_FILES,
    "LeftFiles": object_of(
        {
            "outputs": {
                "type": "array",
                "maxItems": MAX_PATHS,
                "items": ref("LeftOutput"),
                "description": "What the job left of its outputs, as its receipt states it. The same on every page.",
            },
            "missing": {
                **_PATHS,
                "description": "Outputs that the job did not leave. The same on every page.",
            },
            "files": {"type": "array", "maxItems": MAX_FILES_LISTED, "items": ref("LeftFile")},
            "next": text("`after` of the next page; not there on the last."),
        },
        ["outputs", "missing", "files"],
        "The files that a job left.",
    ),
    "LeftOutput": object_of(
        {
            "path": text("Its path, as in the manifest; `.` is the root."),
            "kind": {"type": "string", "enum": ["file", "tree"]},
            "sha256": {**DIGEST, "description": "Of a file's bytes, or of a tree's listing (docs/files.md)."},
        },
        description="An output that a job left.",
    ),
    "LeftFile": object_of(
        {
            "path": text("Its path in the job's tree."),
            "kind": {"type": "string", "enum": ["file", "directory"]},
            "sizeBytes": whole("Its length in bytes; only of a file."),
            "sha256": {**DIGEST, "description": "SHA-256 of its bytes; only of a file."},
        },
        ["path", "kind"],
        "A file or directory that a job left.",
    ),
    "Tree": object_of({"digest": DIGEST, "sizeBytes": whole("The length of its pack in bytes.")}),
}
