"""`plasm run`: run a module on this machine and get its output and a receipt."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import attrs
import click

from plasm_core import assurance
from plasm_core.cli import exits, node_options, option_values, options, render
from plasm_core.cli.file_options import FileOptions, destinations, file_options, write_outputs
from plasm_core.cli.files import Files
from plasm_core.cli.known_jobs import remember
from plasm_core.cli.results import MAX_OUTPUT_BYTES, StandardStreams, show_result, told
from plasm_core.cli.scripts import as_script
from plasm_core.client.in_process import InProcessClient
from plasm_core.client.output import Buffer, Sink
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.first_run import compile_behind


@options.command(context_settings={"ignore_unknown_options": True})
@click.argument("module", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@options.interpreter
@options.task
@file_options(limits=True)
@node_options.reach
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the signed receipt to this file.")
@click.option("--manifest", "manifest_file", metavar="FILE", help="Write the manifest to this file.")
@click.option("--quiet", "-q", is_flag=True, help="Print no summary on stderr.")
@options.json_option
@options.configured(
    choices=("runtime", "validator", "signer", "verifier", "require"), sandboxed=True, reuse=True
)
@click.pass_context
def run(
    ctx: click.Context,
    module: str,
    args: tuple[str, ...],
    interpreter: str | None,
    task: options.Task,
    job_files: FileOptions,
    reach: node_options.Reach,
    receipt_file: str | None,
    manifest_file: str | None,
    quiet: bool,
    as_json: bool,
    settings: Config,
) -> None:
    """Run MODULE with ARGS in the sandbox: on this machine or, with --remote, on a node of the network.

    MODULE may be a script whose extension the configuration names an interpreter for.

    Put -- before arguments that begin with --.

    The job's stdout and stderr are printed unchanged: as they are written if the job runs here, and after the
    receipt is verified if it runs on another node. A summary and the receipt's verdict follow on stderr.
    """
    script = as_script(module, args, job_files, settings.interpreters, named=interpreter)
    if script is not None:
        module, args, job_files = script.module, script.args, script.files
        task = attrs.evolve(task, env=(*script.env, *task.env))
    option_values.read_once(module, task.stdin_file)
    files = Files.prepared(receipt=receipt_file, manifest=manifest_file, read=(module, task.stdin_file))
    show = functools.partial(
        show_result, require=settings.plasm.require, files=files, quiet=quiet, as_json=as_json
    )
    if reach.transport != "local" or reach.gateway:
        _refuse_options_of_this_machine(ctx, settings)
        ctx.exit(_run_remotely(module, args, task, job_files, reach, settings, show))
    chosen = assurance.verifiers_for(settings.plasm.require, settings.plasm.verifier)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    if job_files.given:
        ctx.exit(_run_with_files(module, args, task, job_files, settings, show, as_json=as_json))
    job = task.loaded_submission(module, args, settings=settings)
    output = Buffer(MAX_OUTPUT_BYTES) if as_json else StandardStreams()
    client = InProcessClient(settings)
    found = run_here(job, output, client)
    if receipt_file is not None:
        remember(found.receipt.asked.job_id, module, args, task)
    code = show(found, output, manifest_json=found.manifest_json or job.manifest_json)
    if client.hot is not None:
        compile_behind(settings, *client.hot)
    ctx.exit(code)


def _run_with_files(
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    job_files: FileOptions,
    settings: Config,
    show: Callable[..., int],
    *,
    as_json: bool,
) -> int:
    """Run a job with files on this machine, and write its outputs. A job that did not leave every requested output
    has failed.
    """
    places = destinations(job_files)
    with contextlib.ExitStack() as opened:
        pack, asked = opened.enter_context(job_files.packed())
        job = task.loaded_submission(module, args, settings=settings, pack=pack, files=asked)
        output = Buffer(MAX_OUTPUT_BYTES) if as_json else StandardStreams()
        client = InProcessClient(settings)
        found = run_here(job, output, client)
        opened.callback(found.files.close)
        code = show(found, output, manifest_json=found.manifest_json or job.manifest_json)
        if code == exits.REJECTED:
            return code
        whole = write_outputs(found.files, places)
    if client.hot is not None:
        compile_behind(settings, *client.hot)
    return exits.JOB_FAILED if code == exits.OK and not whole else code


def run_here(job: Submission, output: Sink, client: InProcessClient) -> JobResult:
    """Run a job in the sandbox of this process, showing its phases. Output goes to the sink as it arrives.

    Raises: as `InProcessClient.run`.
    """
    with render.phases() as progress:
        return client.run(job, sink=output, watch=lambda phase, status: progress(told(phase, status)))


def _refuse_options_of_this_machine(ctx: click.Context, settings: Config) -> None:
    """Refuse options that have no effect on a node of the network.

    Raises: `click.UsageError`. Options of the engine on this machine are allowed with a verifier that runs the job
    again here.
    """
    options.refuse_given(ctx, ("signer",), "signs receipts of this machine: it has no effect on another node")
    chosen = assurance.verifiers_for(settings.plasm.require, settings.plasm.verifier)
    if {"signature", "quorum"}.issuperset(chosen):
        options.refuse_given(
            ctx,
            ("runtime", "validator", "require_sandbox"),
            "is about jobs on this machine: it has no effect on another node (--node-class engine/wasm3 looks for one)",
        )


def _run_remotely(
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    job_files: FileOptions,
    reach: node_options.Reach,
    settings: Config,
    show: Callable[..., int],
) -> int:
    """Run the job on a node of the network. Its output is shown when its receipt has been verified."""
    from plasm_core.cli.acceptance import Acceptance

    buffer = Buffer(MAX_OUTPUT_BYTES)
    places = destinations(job_files)
    with job_files.submission(task, module, args) as job:
        kept = Acceptance(
            module,
            reach.transport,
            output_bytes=task.limits.output_bytes,
            file_bytes=job.fetch_limits.file_bytes,
            gateway=reach.gateway and reach.transport == "local",
        )
        with kept as acceptance, render.phases() as progress:
            progress("looking for a node")
            found = reach.client(settings).run(
                job,
                sink=buffer,
                watch=lambda phase, status: progress(told(phase, status)),
                placed=acceptance.placed,
            )
            acceptance.over()
        with found.files as left:
            code = show(found, buffer, manifest_json=found.manifest_json or job.manifest_json)
            if code == exits.REJECTED:
                return code
            whole = write_outputs(left, places)
    return exits.JOB_FAILED if code == exits.OK and not whole else code
