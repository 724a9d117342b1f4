"""`plasm jobs --all` and `plasm cancel --operator`: for the user that runs the daemon."""

from __future__ import annotations

import click

from plasm_core.cli import render
from plasm_core.cli.acceptance import job_history
from plasm_core.cli.arguments import is_job_id
from plasm_core.client.operator import ListedJob, all_jobs, cancel_any
from plasm_core.config import Config
from plasm_core.records.converter import unstructure

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def show_all_jobs(settings: Config, as_json: bool) -> None:
    """Show all jobs of the daemon. Raises: `RefusedError`, `PeerUnreachableError`, `ProtocolError`."""
    jobs, more = all_jobs(settings)
    own = {entry.parsed.job_id: entry.module for entry in job_history().entries()}
    if as_json:
        render.show_json(
            {
                "jobs": [
                    {
                        **unstructure(job),
                        "moduleName": own.get(job.job_id),
                        "outcome": render.outcome_json(job.outcome),
                    }
                    for job in jobs
                ],
                "more": more,
            }
        )
    elif jobs:
        render.show_rows(
            ("JOB", "MODULE", "OWNER", "STATE", "AGE", "GAS"),
            [
                (
                    job.job_id[:12],
                    own.get(job.job_id, job.module[:12]),
                    job.owner,
                    _state(job),
                    _age(job.age_s),
                    "" if job.gas_used is None else f"{job.gas_used:,}",
                )
                for job in jobs
            ],
        )
    else:
        render.show_hint("the daemon has no jobs")
    if more and not as_json:
        render.show_mark("!", f"{more:,} more jobs wait", stderr=True)


def cancel_as_operator(settings: Config, prefix: str, as_json: bool) -> None:
    """Cancel a job by the beginning of its id. Raises: `RefusedError`, `PeerUnreachableError`, `ProtocolError`."""
    if not is_job_id(prefix):
        raise click.BadParameter(f"{prefix}: expected the beginning of a job id, 4 digits or more")
    job_id, state = cancel_any(settings, prefix)
    if as_json:
        render.show_json({"jobId": job_id, "state": state})
    else:
        render.show_fields([("job", job_id), ("state", state.lower().replace("_", " "))])


def _state(job: ListedJob) -> str:
    word = job.state.lower().replace("_", " ")
    return f"{word} ({job.outcome})" if job.outcome else word


def _age(seconds: int) -> str:
    name, size = next(((name, size) for name, size in _UNITS if seconds >= 2 * size), ("s", 1))
    return f"{max(seconds, 0) // size} {name}"
