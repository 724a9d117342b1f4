"""`plasm bundle`: receipts with everything that they name, in one file for other people."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import click

from plasm_core.bundle.contents import Contents, SignedReceipt
from plasm_core.cli import arguments, node_options, option_values, options, render
from plasm_core.cli.acceptance import job_history
from plasm_core.cli.unreadable import unreadable
from plasm_core.client.known_files import KnownFiles
from plasm_core.client.upload import Bytes, File, Source
from plasm_core.config import Config
from plasm_core.errors import InvalidRecordError, OutputFileError, PlasmError
from plasm_core.input_file import is_stored, read_input
from plasm_core.output_file import OutputFile
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.output import EMPTY_SHA256

_STATUS_S = 10.0
"""How long the nodes of all jobs together have to answer whose outputs were not given."""


@options.command()
@click.argument("items", metavar="HANDLE|RECEIPT|FILE...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, metavar="FILE", help="The bundle to write, as in study.zip.")
@click.option("--arg", "args", multiple=True, metavar="VALUE", help="An argument of the jobs.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="An environment variable of the jobs.")
@click.option("--name", default="Plasm bundle", show_default=True, help="The title in the bundle's metadata.")
@node_options.reach
@options.configured(choices=("verifier", "require"))
def bundle(
    items: tuple[str, ...],
    output: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    name: str,
    reach: node_options.Reach,
    settings: Config,
) -> None:
    """Write receipts, modules, inputs, outputs and public keys into one zip file, a Process Run Crate.

    Name in any order the receipts, the files that they are about, and handles (@FILE), whose results are fetched and
    verified first. Files are matched with receipts by their digests: everything that a receipt names must be there.
    On the machine where a job was submitted, or run with --receipt, its module, input, arguments and environment are
    found without being named, as long as the files are where they were.

    `plasm verify FILE --key PEER` verifies the bundle on another machine, and with --reexecute runs its jobs again.
    """
    target = OutputFile.prepared(output)
    if target.descriptor is not None or target.is_stream:
        raise OutputFileError("a bundle is written to a file, not to a stream")
    receipts: list[bytes] = []
    with ExitStack() as stack:
        given: list[Source] = []
        client = None

        def fetch(handle: Handle) -> bytes:
            """Fetch and verify a job's result, and take its outputs."""
            nonlocal client
            client = client or stack.enter_context(reach.client(settings))
            result = client.result(handle)
            given.extend((Bytes(result.stdout), Bytes(result.stderr)))
            return result.envelope.to_json()

        for item in items:
            handle = _handle(item)
            if handle is not None:
                receipts.append(fetch(handle))
                continue
            try:
                receipt = _receipt(item)
                if receipt is None:
                    given.append(stack.enter_context(closing(File(Path(item)))))
                else:
                    receipts.append(receipt)
            except OSError as exc:
                raise unreadable(item, exc) from exc

        def ended(handles: list[Handle]) -> list[Handle]:
            """Return the jobs that have ended at nodes that answer, all asked at once."""
            nonlocal client
            if not handles:
                return []
            client = client or stack.enter_context(reach.client(settings))
            answers = client.statuses(handles, timeout_s=_STATUS_S)
            return [
                handle
                for handle, answer in zip(handles, answers, strict=True)
                if isinstance(answer, Status) and answer.has_ended
            ]

        given += _known(receipts, given, ended, fetch, stack)
        lists = [option_values.arguments(args), option_values.environment(env)]
        contents = Contents.gathered(receipts, given, lists)
        from plasm_core.bundle.crate import write_bundle

        write_bundle(contents, Path(target.path), name=name)
    render.show_mark("✓", f"wrote {output}: {len(contents.receipts)} receipts, {len(contents.files)} files")


def _known(
    receipts: list[bytes],
    given: list[Source],
    ended: Callable[[list[Handle]], list[Handle]],
    fetch: Callable[[Handle], bytes],
    stack: ExitStack,
) -> list[Source]:
    """Return what this machine knows of the jobs of receipts and was not given. Outputs of own jobs are fetched."""
    known, found, wanted = KnownFiles(), list[Source](), list[Handle]()
    for envelope_json in list(receipts):
        receipt = SignedReceipt.read(envelope_json)
        job = receipt.receipt.asked.job_id
        at_hand = {source.digest for source in given} | {EMPTY_SHA256}
        for source in known.of(job):
            stack.callback(source.close)
            if source.digest in set(receipt.digests.values()) - at_hand:
                found.append(source)
        outputs = {receipt.receipt.stdout, receipt.receipt.stderr}
        mine = job_history().find(job)
        if not outputs <= at_hand and mine:
            wanted.append(mine[0].parsed)
    there: list[Handle] = []
    with suppress(PlasmError):  # the error then names the missing files
        there = ended(wanted)
    for handle in there:
        with suppress(PlasmError):
            fetch(handle)
    return found


def _handle(item: str) -> Handle | None:
    """Return the handle that an argument is, or names with @; None if it is a file."""
    if item.startswith("@") or (item.startswith("phase0-") and not Path(item).exists()):
        return Handle.parse(arguments.given_handle(item))
    return None


def _receipt(path: str) -> bytes | None:
    """Return a file's bytes if it is a receipt; None if it is something else. Raises: OSError."""
    if not is_stored(path) or Path(path).stat().st_size > MAX_ENVELOPE_BYTES:
        return None
    data = read_input(path, MAX_ENVELOPE_BYTES)
    try:
        SignedReceipt.read(data)
    except InvalidRecordError:
        return None
    return data
