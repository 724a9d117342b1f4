"""`plasm receipt`: look at a receipt, and hand it to other tools."""

from __future__ import annotations

import json
import math

import click

from plasm_core.cli import exits, option_values, options, render
from plasm_core.cli.command_class import Command
from plasm_core.output_file import OutputFile
from plasm_core.records import Envelope, Receipt
from plasm_core.records.consistency import contradictions
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.sigstore import bundle


@click.group(epilog=exits.EPILOGUE)
def receipt() -> None:
    """Show or export a receipt. `plasm verify` verifies one."""


def _read(file: str) -> Envelope:
    return Envelope.from_json(option_values.read_file(file, maximum=MAX_ENVELOPE_BYTES, what="receipt"))


def _float(text: str) -> float | str:
    """Read a number of an unknown field: as text if JSON could not hold it again."""
    number = float(text)
    return number if math.isfinite(number) else text


@receipt.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("file")
@options.json_option
def show(file: str, as_json: bool) -> None:
    """Show the content of the receipt in FILE. This checks only that the receipt does not contradict itself."""
    envelope = _read(file)
    found = Receipt.from_statement(envelope.payload)
    for rule in contradictions(found):
        render.show_mark("✗", f"the receipt contradicts itself: {rule}", stderr=True)
    if as_json:
        render.show_json(json.loads(envelope.payload, parse_float=_float))
        return
    asked, result, claims = found.asked, found.result, found.claims
    render.show_mark("!", "not checked here: see plasm verify", stderr=True)
    render.show_fields(
        [
            ("outcome", str(result.outcome)),
            ("gas", f"{render.gas_text(found)} of {asked.limits.gas:,} ({result.gas_schedule})"),
            ("reproducible", "yes" if result.reproducible and result.outcome.recheckable else "no"),
            ("stdout", f"{result.stdout_bytes:,} bytes, sha256 {found.stdout}"),
            ("stderr", f"{result.stderr_bytes:,} bytes, sha256 {found.stderr}"),
            ("job", asked.job_id),
            ("task", f"{asked.task_digest} ({asked.profile})"),
            ("module", asked.module),
            ("node", str(found.node)),
            (
                "node's claims",
                f"{claims.runtime.name} {claims.runtime.version}, {claims.wall_time_ms:,} ms wall, "
                f"{claims.cpu_time_ms:,} ms processor, {claims.peak_memory_bytes >> 20:,} MiB peak, "
                f"isolation {claims.isolation}, {claims.started_at:%Y-%m-%d %H:%M:%S} UTC",
            ),
        ]
    )


@receipt.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("file")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["dsse", "sigstore"]),
    default="dsse",
    show_default=True,
    help="dsse: the envelope. sigstore: a bundle that cosign reads.",
)
@click.option("--output", "-o", metavar="FILE", default="-", help="The file to write; the default is stdout.")
def export(file: str, format_: str, output: str) -> None:
    """Write the receipt in FILE in a format for other tools."""
    target = OutputFile.prepared(output)
    envelope = _read(file)
    data = bundle(envelope) if format_ == "sigstore" else envelope.to_json()
    target.write(data + b"\n")
