"""The job that a request's path names."""

from __future__ import annotations

from starlette.requests import Request

from plasm_core.web.bearer_tokens import READ
from plasm_core.web.guard import token_of
from plasm_core.web.job_table import WebJob
from plasm_core.web.problems import not_found
from plasm_core.web.reception import DIGEST
from plasm_core.web.web_jobs import WebJobs


async def job_of(request: Request, jobs: WebJobs, scope: str = READ) -> WebJob:
    """Return the job of a request whose path has `jobId`. Raises: `ApiProblem`."""
    token = token_of(request, scope)
    job_id = request.path_params["jobId"]
    if not DIGEST.fullmatch(job_id):
        raise not_found("such job: a job id is 64 hexadecimal digits")
    return await jobs.find(token, job_id)
