"""`plasm batch`: what can be done with a batch of `plasm map`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from plasm_core.cli import batch_run, exits, node_options, options, render
from plasm_core.cli.command_class import Command
from plasm_core.cli.unused_settings import BY_SENDERS
from plasm_core.config import Config

if TYPE_CHECKING:
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.client.async_client import AsyncClient
    from plasm_core.client.client import Client
    from plasm_core.records import PeerId

_LISTED = 100


@click.group(epilog=exits.EPILOGUE)
def batch() -> None:
    """Show, cancel, run again or export a batch of `plasm map`.

    The folder of a batch has the handles of its jobs, and anybody with a handle can read and cancel the job: keep the
    folder like a password.
    """


@batch.command(cls=Command, name="list", epilog=exits.EPILOGUE)
@options.json_option
def list_command(as_json: bool) -> None:
    """List your batches: those that run, were interrupted or had failures, and those kept with --batch DIR.

    A batch without --batch DIR is deleted when all its jobs have succeeded.
    """
    from plasm_core.batch import known

    rows = [_listed(path) for path in known.known()]
    if as_json:
        render.show_json({"batches": [render.fields_json(row) for row in rows]})
    elif rows:
        render.show_rows(
            ("BATCH", "MODULE", "STATE", "DONE", "FAILED", "BEGUN"),
            [
                (
                    row.folder,
                    row.module_name or "",
                    row.state,
                    f"{row.ended:,} of {row.total:,}",
                    f"{row.unsuccessful:,}",
                    (row.created_at or "")[:19].replace("T", " "),
                )
                for row in rows
            ],
        )
    else:
        render.show_hint("you have no batches here; begin one with: plasm map MODULE")


@attrs.frozen(kw_only=True)
class _Listed:
    """A batch in the list. `state`: running, interrupted, ended, not begun, or unusable."""

    folder: str
    state: str
    module_name: str | None = None
    created_at: str | None = None
    total: int = 0
    ended: int = 0
    unsuccessful: int = 0


def _listed(path: Path) -> _Listed:
    from plasm_core.batch.folder import BatchFolder, is_in_use
    from plasm_core.errors import PlasmError

    try:
        with BatchFolder.open(path, to_read=True) as folder:
            facts, counts = folder.facts(), folder.counts()
        runs = is_in_use(path)
    except (PlasmError, OSError):
        return _Listed(folder=str(path), state="unusable")
    state = "not begun" if "planned" not in facts else "interrupted"
    if runs:
        state = "running"
    elif counts.total and counts.ended == counts.total:
        state = "ended"
    return _Listed(
        folder=str(path),
        state=state,
        module_name=facts.get("module_name"),
        created_at=facts.get("created_at"),
        total=counts.total,
        ended=counts.ended,
        unsuccessful=counts.unsuccessful,
    )


_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@batch.command(cls=Command, epilog=exits.EPILOGUE)
@_folder
@options.json_option
def status(folder: Path, as_json: bool) -> None:
    """Show how many jobs of the batch in DIR are in which state, and which failed, also while it runs."""
    from plasm_core.batch.folder import FAILED, BatchFolder
    from plasm_core.cli.batch_hints import batch_hints

    with BatchFolder.open(folder, to_read=True) as opened:
        facts, counts = opened.facts(), opened.counts()
        failed = [row for _, row in zip(range(_LISTED), opened.rows(*FAILED), strict=False)]
        if as_json:
            listed = [{"number": row.number, "input": row.label, "reason": row.reason} for row in failed]
            render.show_json({**render.fields_json(counts), "total": counts.total, "failures": listed})
            return
        render.show_fields(
            [
                ("batch", str(folder)),
                ("module", f"{facts.get('module_name')}, sha256 {facts.get('module')}"),
                ("begun", str(facts.get("created_at"))),
                ("jobs", f"{counts.total:,}"),
                *((name, f"{count:,}") for name, count in attrs.asdict(counts).items() if count),
            ]
        )
        if failed:
            render.show_rows(
                ("JOB", "INPUT", "REASON"), [(str(row.number), row.label, row.reason) for row in failed]
            )
            for hint in batch_hints(failed):
                render.show_advice(hint)


@batch.command(cls=Command, epilog=exits.EPILOGUE)
@_folder
@node_options.reach
@options.configured(choices=(), unused=BY_SENDERS)
def cancel(folder: Path, reach: node_options.Reach, settings: Config) -> None:
    """Cancel the jobs of the batch in DIR that have no result: on their nodes, if they were sent."""
    from plasm_core.batch.folder import BatchFolder

    with BatchFolder.open(folder) as opened:
        client = batch_run.reach_of(opened, reach).client(settings)
        told, silent = _cancel_sent(opened, client)
        count = opened.cancelled()
    render.show_mark("✓", f"{count} jobs cancelled, {told} of them on their nodes", stderr=True)
    if silent:
        render.show_mark("!", f"{silent} jobs may go on: their nodes could not be told", stderr=True)


def _cancel_sent(folder: BatchFolder, client: Client) -> tuple[int, int]:
    """Cancel on their nodes the jobs that were sent. Return how many were cancelled, and how many could not be."""
    from plasm_core.batch.rows import BatchJobState
    from plasm_core.errors import PlasmError, RefusedError
    from plasm_core.records import Handle, PeerId
    from plasm_core.records.manifest import job_id

    told = silent = 0
    with client:
        daemon = client.do(_daemon)
        for row in folder.rows(BatchJobState.SENT):
            peer = daemon if row.peer is None else PeerId.parse(row.peer)
            if peer is None or row.manifest is None or row.secret is None:
                silent += 1
                continue
            handle = Handle(job_id=job_id(row.manifest), secret=row.secret, peer=peer)
            try:
                client.cancel(handle)
                told += 1
            except RefusedError:
                pass  # the node does not have the job: it was never sent, or was deleted
            except PlasmError:
                silent += 1
    return told, silent


async def _daemon(client: AsyncClient) -> PeerId | None:
    """Return who the daemon of this machine is, None if it does not answer or the client is of a network."""
    from plasm_core.errors import PlasmError

    if not client.dialler.is_own:
        return None
    try:
        async with client.dialler.converse(None) as (_, peer):
            return peer
    except PlasmError:
        return None


@batch.command(cls=Command, name="retry-failed", epilog=exits.EPILOGUE)
@_folder
@node_options.reach
@batch_run.run_options
@options.configured(choices=("verifier", "require"))
@click.pass_context
def retry_failed(
    ctx: click.Context,
    folder: Path,
    reach: node_options.Reach,
    run_as: batch_run.RunAs,
    settings: Config,
) -> None:
    """Run the failed and cancelled jobs of the batch in DIR again, and print all results from the first on.

    They are new jobs, with receipts of their own. A job that trapped, reached its gas or output limit, exited with an
    error, or has a module that is refused ends in the same way again, unless it has a grant.
    """
    from plasm_core.batch.folder import BatchFolder

    with BatchFolder.open(folder) as opened:
        opened.again()
        code = run_as.run(opened, batch_run.reach_of(opened, reach).client(settings), settings)
    ctx.exit(code)


@batch.command(cls=Command, epilog=exits.EPILOGUE)
@_folder
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@options.configured(choices=("signer",))
def export(folder: Path, target: Path, settings: Config) -> None:
    """Write the results of the batch in DIR to OUT, without handles: a folder a job, and the receipt batch.json.

    The receipt is signed with your own key if you have one (plasm key create). `plasm verify OUT/batch.json` verifies
    it with all receipts and outputs.
    """
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.cli.batch_results import Results

    with BatchFolder.open(folder, to_read=True) as opened:
        results = Results(opened, form="none", out=target)
        for row in opened.rows():
            results.write([row])
        batch_run.write_receipt(opened, target, settings)


@batch.command(cls=Command, epilog=exits.EPILOGUE)
@_folder
@click.argument("job", metavar="N", type=click.IntRange(0))
@options.configured(choices=("signer",))
def proof(folder: Path, job: int, settings: Config) -> None:
    """Print the receipt of job N of the batch in DIR with the proof that it belongs to the batch.

    `plasm verify` verifies it, without anything else of the batch.
    """
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.batch.receipt import batch_document
    from plasm_core.local_node import LocalNode

    with BatchFolder.open(folder, to_read=True) as opened, LocalNode(settings) as node:
        row = opened.row(job)
        document = batch_document(opened, node.signer)
        click.echo(document.proof(job, row.envelope).to_json(), nl=False)
