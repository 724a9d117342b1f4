"""The operations about batches in the OpenAPI document."""

from __future__ import annotations

from plasm_core.web.api_operations import (
    ENVELOPE_TYPE,
    PREFER,
    binary_answer,
    header,
    json_answer,
    operation,
    parameter,
)
from plasm_core.web.batch_schemas import BATCH_ID, MAX_BATCH_JOBS_LISTED
from plasm_core.web.file_operations import FILE_REQUEST, FILES_PAGE, PATH, file_answers
from plasm_core.web.file_schemas import FORM_ENCODING
from plasm_core.web.schemas import Schema, ref

BATCH = parameter("batchId", "path", "The batch's id.", BATCH_ID)
NUMBER = parameter(
    "number", "path", "The job's number in the batch, from 0.", {"type": "string", "pattern": "^[0-9]{1,7}$"}
)
_LINKS = {
    name: {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}
    for name in ("getBatch", "cancelBatch", "listBatchJobs", "getBatchReceipt")
}
_APPLIED = {"Preference-Applied": header("`wait=N`, if it was honoured.")}


def batch_paths() -> Schema:
    """Return the paths with their operations."""
    accepted = {"Location": header("The path of the batch."), **_APPLIED}
    return {
        "/v1/batches": {
            "post": operation(
                "submitBatch",
                "Submit many jobs of one module, which this server runs.",
                {
                    200: json_answer(
                        "Batch",
                        "The batch has ended within the wait that Prefer asked for.",
                        headers=accepted,
                        links=_LINKS,
                    ),
                    202: json_answer(
                        "Batch", "The batch is on this server's disk.", headers=accepted, links=_LINKS
                    ),
                },
                scope="submit",
                problems=(404, 413, 415, 422, 503),
                parameters=(PREFER,),
                body={
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": ref("BatchSubmission"),
                            "encoding": {
                                "module": {"contentType": "application/wasm, application/octet-stream"},
                                "jobs": {"contentType": "application/x-ndjson, text/plain"},
                                **FORM_ENCODING,
                            },
                        }
                    },
                },
            ),
            "get": operation(
                "listBatches",
                "List the batches of this token, the latest first.",
                {200: json_answer("Batches", "The batches.")},
            ),
        },
        "/v1/batches/{batchId}": {
            "get": operation(
                "getBatch",
                "Show a batch.",
                {200: json_answer("Batch", "The batch.", headers=_APPLIED)},
                problems=(404,),
                parameters=(BATCH, PREFER),
            ),
            "delete": operation(
                "cancelBatch",
                "Cancel the jobs of a batch that have no result.",
                {200: json_answer("Batch", "The batch, which has ended.")},
                scope="submit",
                problems=(404,),
                parameters=(BATCH,),
            ),
        },
        "/v1/batches/{batchId}/release": {
            "post": operation(
                "releaseBatch",
                "Delete an ended batch with its results on this server.",
                {200: json_answer("Batch", "The batch, which is deleted.")},
                scope="submit",
                problems=(404, 409),
                parameters=(BATCH,),
            )
        },
        "/v1/batches/{batchId}/receipt": {
            "get": operation(
                "getBatchReceipt",
                "Read the receipt of an ended batch: the root of a tree over the receipts of its jobs.",
                {
                    200: binary_answer(
                        "The receipt, batch.json. This server has no key to sign it.", "application/json"
                    )
                },
                problems=(404, 409, 503),
                parameters=(BATCH,),
            )
        },
        "/v1/batches/{batchId}/jobs": {
            "get": operation(
                "listBatchJobs",
                "List the jobs of a batch, in order.",
                {200: json_answer("BatchJobs", "The jobs.")},
                problems=(404, 422, 503),
                parameters=(
                    BATCH,
                    parameter(
                        "limit",
                        "query",
                        "How many at most.",
                        {"type": "integer", "minimum": 1, "maximum": MAX_BATCH_JOBS_LISTED, "default": 100},
                    ),
                    parameter("after", "query", "`next` of the page before.", {"type": "string"}),
                ),
            )
        },
        **{
            f"/v1/batches/{{batchId}}/jobs/{{number}}/{name}": {
                "get": operation(
                    f"getBatchJob{name.capitalize()}",
                    summary,
                    {200: binary_answer(answer, media_type)},
                    problems=(404, 409, 503),
                    parameters=(BATCH, NUMBER),
                )
            }
            for name, summary, answer, media_type in _OF_A_JOB
        },
        "/v1/batches/{batchId}/jobs/{number}/files": {
            "get": operation(
                "listBatchJobFiles",
                "List the files that a job of a batch left.",
                {200: json_answer("LeftFiles", "The files, in the order of their outputs.")},
                problems=(404, 409, 422, 503),
                parameters=(BATCH, NUMBER, *FILES_PAGE),
            )
        },
        "/v1/batches/{batchId}/jobs/{number}/files/{path}": {
            "get": operation(
                "getBatchJobFile",
                "Read a file that a job of a batch left.",
                file_answers(),
                problems=(404, 409, 416, 503),
                parameters=(BATCH, NUMBER, PATH, *FILE_REQUEST),
            )
        },
    }


_OF_A_JOB = (
    ("stdout", "Read the stdout of a job of a batch.", "The bytes.", "application/octet-stream"),
    ("stderr", "Read the stderr of a job of a batch.", "The bytes.", "application/octet-stream"),
    (
        "receipt",
        "Read the receipt of a job of a batch, signed by the node.",
        "A DSSE envelope.",
        ENVELOPE_TYPE,
    ),
    ("manifest", "Read the manifest of a job of a batch.", "The manifest.", "application/json"),
    (
        "proof",
        "Read the receipt of a job with the proof that it belongs to the batch.",
        "The proof (docs/receipts.md, batches).",
        "application/json",
    ),
)
