"""`plasm demo`: run the module that comes along, so that an installation can be believed by one command."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

import attrs
import click

from plasm_core.cli import option_values, options, render
from plasm_core.cli.files import Files
from plasm_core.cli.results import MAX_OUTPUT_BYTES, StandardStreams, show_result
from plasm_core.cli.run import run_here
from plasm_core.client.in_process import InProcessClient
from plasm_core.client.output import Buffer
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import OutputFileError
from plasm_core.output_file import OutputFile

MODULE = "hello.wasm"
"""Beside this file: what examples/hello/build.sh makes of hello.c."""
_VERIFIERS = ("signature", "reexecute")


@options.command()
@click.argument("words", nargs=-1)
@click.option(
    "--directory",
    metavar="DIR",
    default="plasm-demo",
    show_default=True,
    help="The directory for module and receipt.",
)
@options.json_option
@options.configured(choices=("runtime", "validator", "signer"), sandboxed=True)
@click.pass_context
def demo(ctx: click.Context, words: tuple[str, ...], directory: str, as_json: bool, settings: Config) -> None:
    """Run Plasm's example module, which reverses WORDS, on this machine, and verify its receipt.

    The receipt is checked by its signature and by running the job again, on another engine if there is one.
    The module and the receipt stay in a directory, where the commands that it prints use them.
    """
    wasm = resources.files(__package__).joinpath(MODULE).read_bytes()
    module, receipt = Path(directory, MODULE), Path(directory, "receipt.json")
    try:
        module.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputFileError(
            f"cannot make the directory {directory}: {exc.strerror}",
            hint="begin in a directory of yours, or name one with --directory",
        ) from exc
    copy, files = OutputFile.prepared(module), Files.prepared(receipt=str(receipt))
    copy.write(wasm)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=_VERIFIERS))
    job = Submission.of(wasm, args=option_values.arguments(words))
    output = Buffer(MAX_OUTPUT_BYTES) if as_json else StandardStreams()
    found = run_here(job, output, InProcessClient(settings))
    more = {"module": str(module), "receipt": str(receipt)}
    code = show_result(
        *(found, output), require=settings.plasm.require, files=files, quiet=False, as_json=as_json, more=more
    )
    if as_json:
        ctx.exit(code)
    named = {name: shlex.quote(path) for name, path in more.items()}
    render.show_fields(
        [
            *named.items(),
            (
                "next",
                [
                    f"plasm run {named['module']} some words",
                    f"plasm receipt show {named['receipt']}",
                    f"plasm verify {named['receipt']} --module {named['module']}",
                ],
            ),
        ],
        stderr=True,
    )
    ctx.exit(code)
