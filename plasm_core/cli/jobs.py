"""Jobs on a daemon: submit, status, wait, logs, result, cancel, release, jobs."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import click

from plasm_core.cli import exits, options, render
from plasm_core.cli.acceptance import Acceptance, memory
from plasm_core.cli.arguments import given_handle, is_job_id
from plasm_core.cli.files import Files
from plasm_core.client.blocking import Client
from plasm_core.client.memory import Entry
from plasm_core.client.result import JobResult
from plasm_core.client.sent import Sent
from plasm_core.client.sink import Buffer, Live
from plasm_core.config import Config
from plasm_core.errors import PlasmError, RefusedError
from plasm_core.records import Handle
from plasm_core.records.converter import unstructure
from plasm_core.wire.frames import Channel
from plasm_core.wire.messages import Status

F = TypeVar("F", bound=Callable[..., Any])

_STATUS_S = 10.0
"""How long `plasm jobs` waits for the daemon and the nodes: for all jobs together."""
MAX_OUTPUT_BYTES = 1 << 40


def _timeout(default: str | None) -> Callable[[F], F]:
    return click.option(
        "--timeout",
        metavar="DURATION",
        default=default,
        help="Give up after so long, as in 30s or 5min." + (f" [default: {default}]" if default else ""),
    )


def _seconds(timeout: str | None) -> float | None:
    return None if timeout is None else options.seconds(timeout, what="--timeout")


def _handle(text: str) -> tuple[Handle, str | None]:
    """Read a handle. Return it with the transport of its node, if that is remembered."""
    handle, entry = _entry(text)
    return handle, entry.transport if entry else None


def _entry(text: str) -> tuple[Handle, Entry | None]:
    """Read a handle, given by itself or as `given_handle` has it, or the beginning of a remembered one's job id.

    Return it with what is remembered of it.
    """
    text = given_handle(text)
    if not is_job_id(text):
        handle = Handle.parse(text)
        entry = next((item for item in memory().entries() if item.handle == text), None)
        return handle, entry
    found = memory().find(text)
    if len(found) == 1:
        return found[0].parsed, found[0]
    problem = f"{len(found)} jobs of yours begin so" if found else "no job of yours begins so"
    raise click.BadParameter(f"{text}: {problem}; see plasm jobs")


def _on_job(command: F) -> F:
    """Give a command HANDLE and where to find its node."""
    decorated = click.argument("handle", metavar="HANDLE")(options.reach(command))
    return decorated


@options.command(context_settings={"ignore_unknown_options": True})
@click.argument("module", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@options.task
@options.reach
@_timeout("120s")
@options.json_option
@options.configured(choices=())
def submit(
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    timeout: str | None,
    as_json: bool,
    reach: options.Reach,
    settings: Config,
) -> None:
    """Hand MODULE with ARGS to the daemon, or to a node of the network, and print the job's handle.

    The job is on the node's disk when the handle is printed. Whoever has the handle can read, cancel and
    release the job: keep it like a password, in a file that others cannot read, which the other commands take as
    @FILE. Put -- before arguments that look like options.
    """

    def show(handle: Handle) -> None:
        if as_json:
            render.show_json({"handle": str(handle), "jobId": handle.job_id, "peer": str(handle.peer)})
        else:
            click.echo(str(handle))

    with (
        task.submission(module, args) as job,
        Acceptance(
            module,
            reach.transport,
            output_bytes=task.limits.output_bytes,
            gateway=reach.gateway and reach.transport == "local",
            show=show,
        ) as acceptance,
        render.phases() as progress,
    ):
        reach.client(settings).submit(
            job,
            timeout_s=_seconds(timeout),
            watch=lambda phase, _status: progress(phase),
            placed=acceptance.placed,
        )


@options.command()
@_on_job
@options.json_option
@options.configured(choices=())
def status(handle: str, reach: options.Reach, as_json: bool, settings: Config) -> None:
    """Show where a job stands.

    HANDLE is best given as @FILE or - for stdin: other users can see a command's arguments. It may be shortened to
    the beginning of a job id that `plasm jobs` lists, which is no secret.
    """
    job, transport = _handle(handle)
    _show_status(job, reach.client(settings, transport=transport).status(job), as_json)


@options.command()
@_on_job
@_timeout(None)
@options.json_option
@options.configured(choices=())
@click.pass_context
def wait(
    ctx: click.Context,
    handle: str,
    reach: options.Reach,
    timeout: str | None,
    as_json: bool,
    settings: Config,
) -> None:
    """Wait until a job has ended. Exit code 6 if it failed."""
    job, transport = _handle(handle)
    with render.phases() as progress:
        ended = reach.client(settings, transport=transport).wait(
            job, timeout_s=_seconds(timeout), watch=lambda phase, found: progress(told(phase, found))
        )
    _show_status(job, ended, as_json)
    ctx.exit(exits.OK if ended.state == "COMPLETE" else exits.JOB_FAILED)


@options.command()
@_on_job
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@_timeout(None)
@options.configured(choices=("verifier", "require"))
def logs(handle: str, reach: options.Reach, follow: bool, timeout: str | None, settings: Config) -> None:
    """Show what a job has written so far, stdout and stderr, as it is: not verified until the job has ended.

    If another attempt at the job writes something else, a line on stderr says so, and its output follows from
    the beginning.

    For a verified result use `plasm result`.
    """
    job, entry = _entry(handle)
    client = reach.client(settings, transport=entry.transport if entry else None)
    sent = _sent(entry, reach)
    show = Live(_pass_on, _tell_again)
    if follow:
        client.result(job, sink=show, timeout_s=_seconds(timeout), sent=sent)
    else:
        client.peek(job, show, timeout_s=_seconds(timeout), sent=sent)


def _sent(entry: Entry | None, reach: options.Reach) -> Sent | None:
    if entry is None:
        return Sent(through_gateway=reach.gateway) if reach.gateway else None
    return attrs.evolve(entry.sent, through_gateway=entry.gateway or reach.gateway)


def _tell_again(channel: Channel) -> None:
    text = f"the {channel.label} shown so far came from an attempt that failed: it follows from its beginning"
    render.show_mark("!", text, stderr=True)


def _pass_on(channel: Channel, data: bytes) -> None:
    target = sys.stdout.buffer if channel is Channel.STDOUT else sys.stderr.buffer
    target.write(data)
    target.flush()


@options.command()
@_on_job
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the signed receipt there.")
@click.option("--quiet", "-q", is_flag=True, help="No summary on stderr.")
@click.option("--release", "release_it", is_flag=True, help="Have the daemon delete the job afterwards.")
@_timeout(None)
@options.json_option
@options.configured(choices=("verifier", "require"))
@click.pass_context
def result(
    ctx: click.Context,
    handle: str,
    reach: options.Reach,
    receipt_file: str | None,
    quiet: bool,
    release_it: bool,
    timeout: str | None,
    as_json: bool,
    settings: Config,
) -> None:
    """Wait for a job's result, verify it, and only then write its stdout and stderr out as they were."""
    job, entry = _entry(handle)
    client = reach.client(settings, transport=entry.transport if entry else None)
    files = Files.prepared(receipt=receipt_file)
    buffer = Buffer(MAX_OUTPUT_BYTES)
    with render.phases() as progress:
        found = client.result(
            job,
            sink=buffer,
            timeout_s=_seconds(timeout),
            watch=lambda phase, state: progress(told(phase, state)),
            sent=_sent(entry, reach),
        )
    show_result(found, buffer, files=files, quiet=quiet, as_json=as_json)
    if release_it:
        client.release(job)
        memory().forget({job.job_id})
    ctx.exit(exits.OK if found.ok else exits.JOB_FAILED)


def show_result(
    found: JobResult,
    buffer: Buffer,
    *,
    files: Files,
    manifest_json: bytes = b"",
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a verified result out: its output as it was, and the summary on stderr."""
    with files.written(receipt=found.envelope.to_json() + b"\n", manifest=manifest_json):
        if as_json:
            render.show_json(_result_json(found, buffer))
            return
        buffer.copy(Channel.STDOUT, sys.stdout.buffer)
        buffer.copy(Channel.STDERR, sys.stderr.buffer)
        if not quiet:
            render.show_mark(*render.run_line(found.receipt), stderr=True)
            for item in found.rejected:
                where = f", kept in {item.file}" if item.file else ""
                text = f"another node's answer was not taken: {item.reason}{where}"
                render.show_mark("!", text, stderr=True)
            line = render.verdict_line(found.verdict, matched=False, standing=found.standing)
            render.show_mark(*line, stderr=True)


def _result_json(found: JobResult, buffer: Buffer) -> dict[str, Any]:
    return {
        "outcome": attrs.asdict(found.outcome),
        "state": found.state,
        "gasUsed": found.receipt.result.gas_used,
        "jobId": found.receipt.asked.job_id,
        "taskDigest": found.receipt.asked.task_digest,
        "stdoutBase64": base64.b64encode(buffer.take(Channel.STDOUT)).decode(),
        "stderrBase64": base64.b64encode(buffer.take(Channel.STDERR)).decode(),
        "verdict": render.verdict_json(found.verdict, found.standing),
    }


@options.command()
@_on_job
@options.json_option
@options.configured(choices=())
def cancel(handle: str, reach: options.Reach, as_json: bool, settings: Config) -> None:
    """End a job. It gets a signed receipt that says so, unless it had ended before."""
    job, transport = _handle(handle)
    _show_status(job, reach.client(settings, transport=transport).cancel(job), as_json)


@options.command()
@_on_job
@options.json_option
@options.configured(choices=())
def release(handle: str, reach: options.Reach, as_json: bool, settings: Config) -> None:
    """Have the daemon delete an ended job's inputs, outputs and receipt, and forget its handle."""
    job, transport = _handle(handle)
    ended = reach.client(settings, transport=transport).release(job)
    if ended.state not in ("QUEUED", "INITIALIZING", "RUNNING"):
        memory().forget({job.job_id})
    else:
        raise click.ClickException("the job has not ended: cancel it first")
    _show_status(job, ended, as_json)


@options.command()
@click.option("--forget-ended", is_flag=True, help="Forget the handles of jobs that the daemon has deleted.")
@options.json_option
@options.configured(choices=())
def jobs(forget_ended: bool, as_json: bool, settings: Config) -> None:
    """List the jobs that you submitted from here, and where they stand."""
    rows, gone = [], set()
    for entry, answer in _statuses(list(memory().entries()), settings):
        job, found = entry.parsed, answer if isinstance(answer, Status) else None
        if found is not None:
            state = found.state
        elif isinstance(answer, RefusedError):
            state = "released" if answer.reason == "released" else "unknown"
            gone.add(job.job_id)
        else:
            state = "unreachable"
        rows.append((entry, job, found, state))
    if forget_ended:
        memory().forget(gone)
        rows = [row for row in rows if row[1].job_id not in gone]
    if as_json:
        render.show_json(
            [
                {
                    "handle": entry.handle,
                    "jobId": job.job_id,
                    "module": entry.module,
                    "submittedAt": entry.submitted_at.isoformat(),
                    "state": state,
                    "status": _status_json(found) if found else None,
                }
                for entry, job, found, state in rows
            ]
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


def _statuses(entries: list[Entry], settings: Config) -> Iterator[tuple[Entry, Status | PlasmError]]:
    """Ask about all jobs, those of one transport beside one another. Yield them in their order."""
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


def told(state: str, found: Status | None) -> str:
    """Return a state as people read it."""
    if found is None:
        return state
    if found.position is not None:
        return f"queued ({found.position})"
    return found.state.lower().replace("_", " ") + (f" ({found.outcome})" if found.outcome else "")


def _show_status(job: Handle, found: Status, as_json: bool) -> None:
    if as_json:
        render.show_json({"jobId": job.job_id, **_status_json(found)})
        return
    rows: list[tuple[str, str]] = [("job", job.job_id), ("state", told(found.state, found))]
    rows.append(("attempt", str(found.attempt)))
    rows.append(("output", f"{found.stdout_bytes:,} B stdout, {found.stderr_bytes:,} B stderr"))
    for name in ("accepted_at", "started_at", "finished_at", "expires_at"):
        moment = getattr(found, name)
        if moment is not None:
            rows.append((name.removesuffix("_at"), moment.strftime("%Y-%m-%d %H:%M:%S UTC")))
    render.show_fields(rows)


def _status_json(found: Status) -> dict[str, Any]:
    return {name: value for name, value in unstructure(found).items() if value is not None}
