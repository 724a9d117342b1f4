"""Jobs on a daemon: submit, status, wait, logs, result, cancel, release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from plasm_core.cli import completion, exits, node_options, option_values, options, render
from plasm_core.cli.acceptance import Acceptance, job_history
from plasm_core.cli.arguments import given_handle, is_job_id
from plasm_core.cli.file_options import FileOptions, directory_for, file_options, tell_missing
from plasm_core.cli.files import Files
from plasm_core.cli.known_jobs import remember
from plasm_core.cli.results import MAX_OUTPUT_BYTES, show_result, told, write_out
from plasm_core.cli.scripts import as_script
from plasm_core.cli.unused_settings import BY_SENDERS
from plasm_core.client.job_history import Entry
from plasm_core.client.output import Buffer, Live
from plasm_core.client.submitted_job import Sent
from plasm_core.config import Config
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle
from plasm_core.records.converter import unstructure
from plasm_core.records.json_names import camel
from plasm_core.records.manifest import job_id
from plasm_core.records.output import OutputStream

F = TypeVar("F", bound=Callable[..., Any])


def timeout_option(default: str | None) -> Callable[[F], F]:
    """Give a command `--timeout`."""
    return click.option(
        "--timeout",
        metavar="DURATION",
        default=default,
        help="Stop waiting after this time, as in 30s or 5min."
        + (f" [default: {default}]" if default else ""),
    )


def seconds_of(timeout: str | None) -> float | None:
    """Return the seconds of `--timeout`, None if it was not given."""
    return None if timeout is None else option_values.seconds(timeout, what="--timeout")


def _handle(text: str) -> tuple[Handle, str | None]:
    """Read a handle. Return it with the transport of its node, if that is remembered."""
    handle, entry = entry_of(text)
    return handle, entry.transport if entry else None


def entry_of(text: str) -> tuple[Handle, Entry | None]:
    """Read a handle: its text, the forms of `given_handle`, or the beginning of the job id of a remembered handle.

    Return the handle, and its entry in the job history, None if it has none.
    """
    text = given_handle(text)
    if not is_job_id(text):
        handle = Handle.parse(text)
        entry = next((item for item in job_history().entries() if item.handle == text), None)
        return handle, entry
    found = job_history().find(text)
    if len(found) == 1:
        return found[0].parsed, found[0]
    problem = f"{len(found)} jobs of yours begin so" if found else "no job of yours begins so"
    raise click.BadParameter(f"{text}: {problem}; see plasm jobs")


def on_job(command: F) -> F:
    """Give a command HANDLE and where to find its node."""
    decorated = click.argument("handle", metavar="HANDLE", shell_complete=completion.job_ids)(
        node_options.reach(command)
    )
    return decorated


@options.command(context_settings={"ignore_unknown_options": True})
@click.argument("module", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@options.task
@options.interpreter
@file_options(limits=True)
@node_options.reach
@timeout_option("120s")
@options.json_option
@options.configured(choices=(), unused=BY_SENDERS)
def submit(
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    interpreter: str | None,
    job_files: FileOptions,
    timeout: str | None,
    as_json: bool,
    reach: node_options.Reach,
    settings: Config,
) -> None:
    """Submit MODULE with ARGS to the daemon, or to a node of the network, and print the job's handle.

    MODULE may be a script whose extension the configuration names an interpreter for.

    The job is on the node's disk when the handle is printed. Anybody with the handle can read, cancel and
    release the job: keep it like a password, in a file that others cannot read, which the other commands take as
    @FILE. Put -- before arguments that begin with --.
    """

    def show(handle: Handle) -> None:
        if as_json:
            render.show_json({"handle": str(handle), "jobId": handle.job_id, "peerId": str(handle.peer)})
        else:
            click.echo(str(handle))

    job_files.refuse_places("plasm result HANDLE --out DIR writes what the job left")
    script = as_script(module, args, job_files, settings.interpreters, named=interpreter)
    if script is not None:
        module, args, job_files = script.module, script.args, script.files
        task = attrs.evolve(task, env=(*script.env, *task.env))
    with (
        job_files.submission(task, module, args) as job,
        Acceptance(
            module,
            reach.transport,
            output_bytes=task.limits.output_bytes,
            file_bytes=job.fetch_limits.file_bytes,
            gateway=reach.gateway and reach.transport == "local",
            show=show,
        ) as acceptance,
        render.phases() as progress,
    ):
        remember(job_id(job.manifest_json), module, args, task)
        reach.client(settings).submit(
            job,
            timeout_s=seconds_of(timeout),
            watch=lambda phase, _status: progress(phase),
            placed=acceptance.placed,
        )


@options.command()
@on_job
@options.json_option
@options.configured(choices=(), unused=BY_SENDERS)
def status(handle: str, reach: node_options.Reach, as_json: bool, settings: Config) -> None:
    """Show the state of a job.

    HANDLE is best given as @FILE or - for stdin: other users can see a command's arguments. It may be shortened to
    the beginning of a job id that `plasm jobs` lists, which is no secret.
    """
    job, transport = _handle(handle)
    _show_status(job, reach.client(settings, transport=transport).status(job), as_json)


@options.command()
@on_job
@timeout_option(None)
@options.json_option
@options.configured(choices=(), unused=BY_SENDERS)
@click.pass_context
def wait(
    ctx: click.Context,
    handle: str,
    reach: node_options.Reach,
    timeout: str | None,
    as_json: bool,
    settings: Config,
) -> None:
    """Wait until a job has ended. Exit code 6 if it failed."""
    job, transport = _handle(handle)
    with render.phases() as progress:
        ended = reach.client(settings, transport=transport).wait(
            job, timeout_s=seconds_of(timeout), watch=lambda phase, found: progress(told(phase, found))
        )
    _show_status(job, ended, as_json)
    ctx.exit(exits.OK if ended.state == "COMPLETE" else exits.JOB_FAILED)


@options.command()
@on_job
@click.option("--follow", "-f", is_flag=True, help="Continue until the job has ended.")
@timeout_option(None)
@options.configured(choices=("verifier", "require"))
@click.pass_context
def logs(
    ctx: click.Context,
    handle: str,
    reach: node_options.Reach,
    follow: bool,
    timeout: str | None,
    settings: Config,
) -> None:
    """Show the stdout and stderr of a job so far. The output is not verified until the job has ended.

    If another attempt at the job writes something else, a line on stderr says so, and its output follows from
    the beginning.

    For a verified result use `plasm result`.
    """
    if not follow:
        why = "has no effect without --follow: the output so far is not verified"
        options.refuse_given(ctx, ("verifier", "require"), why)
    job, entry = entry_of(handle)
    client = reach.client(settings, transport=entry.transport if entry else None)
    sent = sent_of(entry, reach)
    show = Live(write_out, _tell_again)
    if follow:
        client.result(job, sink=show, timeout_s=seconds_of(timeout), sent=sent)
    else:
        client.peek(job, show, timeout_s=seconds_of(timeout), sent=sent)


def sent_of(entry: Entry | None, reach: node_options.Reach) -> Sent | None:
    """Return the terms under which a job was submitted, from the job history; None if they are not known."""
    if entry is None:
        return Sent(through_gateway=reach.gateway) if reach.gateway else None
    return attrs.evolve(entry.sent, through_gateway=entry.gateway or reach.gateway)


def _tell_again(stream: OutputStream) -> None:
    text = f"the {stream.label} shown so far came from an attempt that failed: it follows from its beginning"
    render.show_mark("!", text, stderr=True)


@options.command()
@on_job
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the signed receipt to this file.")
@click.option(
    "--out",
    "out",
    metavar="DIR",
    help="Write the files that the job left into DIR, which must be new or empty.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print no summary on stderr.")
@click.option("--release", "release_it", is_flag=True, help="Let the node delete the job afterwards.")
@timeout_option(None)
@options.json_option
@options.configured(choices=("verifier", "require"))
@click.pass_context
def result(
    ctx: click.Context,
    handle: str,
    reach: node_options.Reach,
    receipt_file: str | None,
    out: str | None,
    quiet: bool,
    release_it: bool,
    timeout: str | None,
    as_json: bool,
    settings: Config,
) -> None:
    """Wait for a job's result, verify it, and then print its stdout and stderr unchanged."""
    job, entry = entry_of(handle)
    client = reach.client(settings, transport=entry.transport if entry else None)
    files = Files.prepared(receipt=receipt_file)
    place = None if out is None else directory_for(out)
    buffer = Buffer(MAX_OUTPUT_BYTES)
    with render.phases() as progress:
        found = client.result(
            job,
            sink=buffer,
            timeout_s=seconds_of(timeout),
            watch=lambda phase, state: progress(told(phase, state)),
            sent=sent_of(entry, reach),
            files=place is not None,
        )
    with found.files as left:
        code = show_result(
            found, buffer, require=settings.plasm.require, files=files, quiet=quiet, as_json=as_json
        )
        if place is not None and code != exits.REJECTED:
            place.write_all(left)
            told_missing = tell_missing(found.receipt)
            code = exits.JOB_FAILED if code == exits.OK and told_missing else code
    if release_it:
        client.release(job)
        job_history().forget({job.job_id})
    ctx.exit(code)


@options.command()
@on_job
@click.option(
    "--operator",
    is_flag=True,
    help="HANDLE is the beginning of any job's id, as --all of `plasm jobs` lists it: for the user that runs the daemon.",
)
@options.json_option
@options.configured(choices=(), unused=BY_SENDERS)
def cancel(handle: str, reach: node_options.Reach, operator: bool, as_json: bool, settings: Config) -> None:
    """Cancel a job. Its signed receipt then says `cancelled`, unless the job had ended before."""
    if operator:
        if reach.transport != "local":
            raise click.UsageError("--operator is about the daemon on this machine")
        from plasm_core.cli.all_jobs import cancel_as_operator

        cancel_as_operator(settings, handle, as_json)
        return
    job, transport = _handle(handle)
    _show_status(job, reach.client(settings, transport=transport).cancel(job), as_json)


@options.command()
@on_job
@options.json_option
@options.configured(choices=(), unused=BY_SENDERS)
def release(handle: str, reach: node_options.Reach, as_json: bool, settings: Config) -> None:
    """Let the node delete an ended job's inputs, outputs and receipt, and delete the handle here."""
    job, transport = _handle(handle)
    ended = reach.client(settings, transport=transport).release(job)
    if ended.has_ended:
        job_history().forget({job.job_id})
    else:
        raise click.ClickException("the job has not ended: cancel it first")
    _show_status(job, ended, as_json)


def _show_status(job: Handle, found: Status, as_json: bool) -> None:
    if as_json:
        render.show_json({"jobId": job.job_id, **status_json(found)})
        return
    rows: list[tuple[str, str]] = [("job", job.job_id), ("state", told(found.state, found))]
    rows.append(("attempt", str(found.attempt)))
    rows.append(("output", f"{found.stdout_bytes:,} B stdout, {found.stderr_bytes:,} B stderr"))
    for name in ("accepted_at", "started_at", "finished_at", "expires_at"):
        moment = getattr(found, name)
        if moment is not None:
            rows.append((name.removesuffix("_at"), moment.strftime("%Y-%m-%d %H:%M:%S UTC")))
    render.show_fields(rows)


def status_json(found: Status) -> dict[str, Any]:
    """Return a status for `--json`: names as everywhere there, and the outcome as an object."""
    fields = {camel(name): value for name, value in unstructure(found).items() if value is not None}
    return {**fields, **({"outcome": render.outcome_json(found.outcome)} if found.outcome else {})}
