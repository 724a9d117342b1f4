"""plasm jobs: the list of the jobs that this user submitted, or of all jobs of the daemon."""

from __future__ import annotations

from collections.abc import Iterator

import click

from plasm_core.cli import options, render
from plasm_core.cli.acceptance import job_history
from plasm_core.cli.all_jobs import show_all_jobs
from plasm_core.cli.jobs import status_json
from plasm_core.cli.results import told
from plasm_core.client.client import Client
from plasm_core.client.job_history import Entry
from plasm_core.config import Config
from plasm_core.errors import PlasmError, RefusedError
from plasm_core.protocol.messages import Status

_STATUS_S = 10.0
"""How long `plasm jobs` waits for the daemon and the nodes: for all jobs together."""


@options.command()
@click.option(
    "--all", "everybodys", is_flag=True, help="List all jobs of the daemon: for the user that runs it."
)
@click.option("--forget-ended", is_flag=True, help="Forget the handles of jobs that the daemon has deleted.")
@click.option(
    "--handles", "with_handles", is_flag=True, help="With --json: also print the handles, which are secrets."
)
@click.option(
    "--doubtful",
    is_flag=True,
    help="List accepted results that nothing has confirmed, of nodes that were convicted later.",
)
@click.option("--recheck", is_flag=True, help="With --doubtful: run these jobs again on this machine.")
@options.json_option
@options.configured(choices=(), sandboxed=True)
@click.pass_context
def jobs(
    ctx: click.Context,
    everybodys: bool,
    forget_ended: bool,
    with_handles: bool,
    doubtful: bool,
    recheck: bool,
    as_json: bool,
    settings: Config,
) -> None:
    """List the jobs that you submitted from this machine, with their states.

    With --all, the user that runs the daemon, and root, see all its jobs: those without a result, and the latest
    that have ended. `plasm cancel --operator` ends one of them.

    With --recheck the exit code is 7 if a result was wrong, and 8 if one could not be checked.
    """
    if recheck and not doubtful:
        raise click.UsageError("--recheck is for --doubtful")
    if doubtful:
        if everybodys or forget_ended or with_handles:
            raise click.UsageError("--doubtful goes with --recheck and --json only")
        from plasm_core.cli import reputation

        if recheck:
            reputation.recheck(ctx, settings, as_json=as_json)
        else:
            reputation.show_doubtful(as_json)
        return
    if with_handles and not as_json:
        raise click.UsageError("--handles is for --json")
    if everybodys:
        if forget_ended or with_handles:
            raise click.UsageError(
                "--all does not go with --forget-ended and --handles, which are about your own jobs"
            )
        show_all_jobs(settings, as_json)
        return
    rows, gone, silent = [], set(), list[str]()
    for entry, answer in _statuses(list(job_history().entries()), settings):
        job, found = entry.parsed, answer if isinstance(answer, Status) else None
        state, is_gone = _listed(answer)
        if is_gone:
            gone.add(job.job_id)
        if state == _UNREACHABLE and isinstance(answer, PlasmError):
            silent.append(f"{answer}; {answer.hint}" if answer.hint else str(answer))
        rows.append((entry, job, found, state))
    if forget_ended:
        job_history().forget(gone)
        rows = [row for row in rows if row[1].job_id not in gone]
    if as_json:
        render.show_json(
            {
                "jobs": [
                    {
                        **({"handle": entry.handle} if with_handles else {}),
                        "jobId": job.job_id,
                        "moduleName": entry.module,
                        "submittedAt": render.time_json(entry.submitted_at),
                        **(status_json(found) if found else {}),
                        "state": state,
                    }
                    for entry, job, found, state in rows
                ]
            }
        )
    elif rows:
        render.show_rows(
            ("JOB", "MODULE", "STATE", "OUTPUT", "SUBMITTED"),
            [
                (
                    job.job_id[:12],
                    entry.module,
                    told(state, found),
                    f"{found.stdout_bytes + found.stderr_bytes:,} B" if found else "",
                    entry.submitted_at.strftime("%Y-%m-%d %H:%M:%S"),
                )
                for entry, job, found, state in rows
            ],
        )
    else:
        render.show_hint("you have submitted no jobs from here; begin with: plasm submit MODULE")
    if not as_json:
        for reason in dict.fromkeys(silent):
            render.show_advice(f"an unreachable job is still at its node: {reason}")
        _tell_of_batches()


def _tell_of_batches() -> None:
    from plasm_core.batch.known import known

    if count := len(known()):
        batches = "a batch has its jobs" if count == 1 else f"{count} batches have their jobs"
        render.show_mark("!", f"{batches} in a folder of its own: plasm batch list", stderr=True)


_UNREACHABLE = "unreachable"
_GONE = {"released": "released", "expired": "expired", "unknown_job": "unknown"}
"""Why a node tells nothing of a job that it does not have any more → the state that is listed."""


def _listed(answer: Status | PlasmError) -> tuple[str, bool]:
    """Return the state to list for a node's answer, and whether the node no longer has the job.

    A node that cannot answer now, for example because of a disk error, still has the job: its handle is kept.
    """
    if isinstance(answer, Status):
        return answer.state.value, False
    if isinstance(answer, RefusedError):
        return _GONE.get(answer.reason, "unavailable"), answer.reason in _GONE
    return _UNREACHABLE, False


def _statuses(entries: list[Entry], settings: Config) -> Iterator[tuple[Entry, Status | PlasmError]]:
    """Ask about all jobs, concurrently within one transport. Yield the answers in the order of the jobs."""
    answers: dict[int, Status | PlasmError] = {}
    for transport in dict.fromkeys(entry.transport for entry in entries):
        chosen = [index for index, entry in enumerate(entries) if entry.transport == transport]
        handles = [entries[index].parsed for index in chosen]
        try:
            given = Client(settings, transport=transport).statuses(handles, timeout_s=_STATUS_S)
        except PlasmError as exc:
            given = [exc] * len(chosen)
        answers.update(zip(chosen, given, strict=True))
    for index, entry in enumerate(entries):
        yield entry, answers[index]
