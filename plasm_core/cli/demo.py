"""`plasm demo`: run the module that comes along, so that an installation can be believed by one command."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

import attrs
import click

from plasm_core.cli import options, render
from plasm_core.cli.run import run_here
from plasm_core.config import Config
from plasm_core.output_file import OutputFile
from plasm_core.records import JobInput

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
    help="Where module and receipt are written.",
)
@options.json_option
@options.configured(choices=("runtime", "validator", "signer"), sandboxed=True)
@click.pass_context
def demo(ctx: click.Context, words: tuple[str, ...], directory: str, as_json: bool, settings: Config) -> None:
    """Run a module that comes with Plasm, which reverses WORDS, on this machine, and check its receipt.

    The receipt is checked by its signature and by running the job again, on another engine if there is one.
    Module and receipt are left in a directory, for you to go on with.
    """
    code = resources.files(__package__).joinpath(MODULE).read_bytes()
    module, receipt = Path(directory, MODULE), Path(directory, "receipt.json")
    try:
        module.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise click.ClickException(f"cannot make the directory {directory}: {exc.strerror}") from exc
    places = OutputFile.prepared(module), OutputFile.prepared(receipt)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=_VERIFIERS))
    done = run_here(code, JobInput(args=options.arguments(words)), {}, settings, keep=as_json)
    places[0].write(code)
    places[1].write(done.envelope_json + b"\n")
    if as_json:
        render.show_json({**done.as_json(), "module": str(module), "receipt": str(receipt)})
        ctx.exit(done.exit_code)
    done.show()
    named = {name: shlex.quote(str(path)) for name, path in (("module", module), ("receipt", receipt))}
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
    ctx.exit(done.exit_code)
