"""`plasm run`: run a module on this machine and get its output and a receipt."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import click

from plasm_core import assurance, standard_streams
from plasm_core.assurance import Standing
from plasm_core.cli import exits, options, render
from plasm_core.cli.files import Files
from plasm_core.config import Config
from plasm_core.issuer import OutputDigest
from plasm_core.laboratory import NodeLaboratory
from plasm_core.node import Node
from plasm_core.records import Decision, JobInput, Receipt, Verdict, manifest_for
from plasm_core.verification import Expectation, verify


@options.command(context_settings={"ignore_unknown_options": True})
@click.argument("module", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@options.task
@options.reach
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the signed receipt there.")
@click.option("--manifest", "manifest_file", metavar="FILE", help="Write the manifest there.")
@click.option("--quiet", "-q", is_flag=True, help="No summary on stderr.")
@options.json_option
@options.configured(choices=("runtime", "validator", "signer", "verifier", "require"), sandboxed=True)
@click.pass_context
def run(
    ctx: click.Context,
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    reach: options.Reach,
    receipt_file: str | None,
    manifest_file: str | None,
    quiet: bool,
    as_json: bool,
    settings: Config,
) -> None:
    """Run MODULE in the sandbox with ARGS: here or, with --remote, on a node of the network.

    Put -- before arguments that look like options.

    The job's stdout and stderr come out untouched: here as they are written, from a node of the network once
    its receipt has been verified. A summary and the receipt's verdict follow on stderr.
    """
    files = Files.prepared(receipt=receipt_file, manifest=manifest_file)
    if reach.transport != "local" or reach.gateway:
        ctx.exit(_run_remotely(module, args, task, reach, files, quiet, as_json, settings))
    require = settings.plasm.require
    chosen = assurance.verifiers_for(require, settings.plasm.verifier)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    code = options.read_file(module, maximum=settings.admission.module_bytes, what="module")
    inputs = JobInput(args=options.arguments(args), env=task.env, stdin=task.stdin())
    done = run_here(code, inputs, task.terms, settings, keep=as_json)
    with files.written(receipt=done.envelope_json + b"\n", manifest=done.manifest_json):
        if done.problem is not None:
            raise done.problem
        if as_json:
            render.show_json(done.as_json())
        elif not quiet:
            done.show()
    ctx.exit(done.exit_code)


@attrs.frozen(kw_only=True)
class Done:
    """A job that ran on this machine. `kept`: stdout and stderr, empty if they were shown as they came.

    `lacking`: why what was established does not suffice, None if it does.
    `problem`: why some of its output could not be shown.
    """

    receipt: Receipt
    envelope_json: bytes
    manifest_json: bytes
    verdict: Verdict
    kept: tuple[bytes, bytes]
    lacking: str | None = None
    problem: OSError | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ran it."""
        if self.verdict.decision is not Decision.ACCEPT:
            return exits.REJECTED if self.verdict.decision is Decision.REJECT else exits.UNDECIDED
        if self.lacking is not None:
            return exits.UNDECIDED
        return exits.OK if self.receipt.result.outcome.ok else exits.JOB_FAILED

    def show(self) -> None:
        """Show on stderr how it ended, and what is known of its receipt."""
        render.show_mark(*render.run_line(self.receipt), stderr=True)
        render.show_mark(*render.verdict_line(self.verdict, matched=False), stderr=True)
        if self.lacking is not None and self.verdict.decision is Decision.ACCEPT:
            render.show_mark("?", f"more is required: {self.lacking}", stderr=True)

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "outcome": attrs.asdict(self.receipt.result.outcome),
            "state": self.receipt.result.outcome.state,
            "gasUsed": self.receipt.result.gas_used,
            "jobId": self.receipt.asked.job_id,
            "taskDigest": self.receipt.asked.task_digest,
            "stdoutBase64": base64.b64encode(self.kept[0]).decode(),
            "stderrBase64": base64.b64encode(self.kept[1]).decode(),
            "verdict": render.verdict_json(self.verdict, Standing.OWN),
        }


def run_here(
    code: bytes, inputs: JobInput, terms: Mapping[str, Any], settings: Config, *, keep: bool
) -> Done:
    """Run a job in the sandbox and judge its receipt. Its output is shown as it comes, or kept.

    `terms`: what the manifest says beside digests. Raises: `PlasmError`, `click.BadParameter`.
    """
    try:
        manifest = manifest_for(code, inputs, **terms)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    if manifest.capabilities:  # asked for on one's own machine, by its own user: that is the grant
        granted = tuple(sorted({*settings.policy.capabilities, *manifest.capabilities}))
        settings = attrs.evolve(settings, policy=attrs.evolve(settings.policy, capabilities=granted))
    output = _Output(keep=keep)
    with Node(settings) as node, render.phases() as progress:
        establishes = {item for verifier in node.verifiers for item in verifier.establishes}
        assurance.check_possible(settings.plasm.require, establishes)
        completed = node.run(code, inputs, manifest, output.take, progress=progress)
        output.finish()
        envelope_json = completed.envelope.to_json()
        _, verdict = verify(
            envelope_json,
            Expectation(
                peer=node.signer.peer_id,
                manifest_json=manifest.to_json(),
                stdout=output.digests[1].hexdigest,
                stderr=output.digests[2].hexdigest,
                stdout_bytes=output.digests[1].size_bytes,
                stderr_bytes=output.digests[2].size_bytes,
            ),
            node.verifiers,
            laboratory=NodeLaboratory(node, lambda: (code, inputs)),
        )
    return Done(
        receipt=completed.receipt,
        envelope_json=envelope_json,
        manifest_json=manifest.to_json(),
        verdict=verdict,
        lacking=assurance.lacking(settings.plasm.require, verdict, Standing.OWN),
        kept=(bytes(output.kept[1]), bytes(output.kept[2])),
        problem=output.problem,
    )


def _run_remotely(
    module: str,
    args: tuple[str, ...],
    task: options.Task,
    reach: options.Reach,
    files: Files,
    quiet: bool,
    as_json: bool,
    settings: Config,
) -> int:
    """Run the job on a node of the network. Its output is shown when its receipt has been verified."""
    from plasm_core.cli.acceptance import Acceptance
    from plasm_core.cli.jobs import MAX_OUTPUT_BYTES, show_result, told  # see Task.submission
    from plasm_core.client.sink import Buffer

    buffer = Buffer(MAX_OUTPUT_BYTES)
    with task.submission(module, args) as job:
        kept = Acceptance(
            module,
            reach.transport,
            output_bytes=task.limits.output_bytes,
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
        show_result(found, buffer, files=files, manifest_json=job.manifest_json, quiet=quiet, as_json=as_json)
    return exits.OK if found.ok else exits.JOB_FAILED


class _Output:
    """Passes a job's output on as it comes, and takes its digests. With `keep` it is kept instead."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._closed: set[int] = set()
        self.problem: OSError | None = None
        self.kept = {1: bytearray(), 2: bytearray()}
        self.digests = {1: OutputDigest(), 2: OutputDigest()}

    def take(self, stream: int, data: bytes) -> None:
        self.digests[stream].update(data)
        if self._keep:
            self.kept[stream] += data
        elif stream not in self._closed:
            target = sys.stdout.buffer if stream == 1 else sys.stderr.buffer
            try:
                target.write(data)
                target.flush()
            except OSError as exc:
                self._closed.add(stream)  # the job goes on: its receipt is still worth having
                if not isinstance(exc, BrokenPipeError):
                    self.problem = self.problem or exc

    def finish(self) -> None:
        """Leave no broken stream for the interpreter to complain about on exit."""
        for stream in self._closed:
            standard_streams.abandon(stream)
