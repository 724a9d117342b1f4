"""The options of the commands that run a batch, and the nodes of a batch that goes on."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from plasm_core.cli import exits, node_options
from plasm_core.errors import PlasmError
from plasm_core.protocol import ANY_NODE

if TYPE_CHECKING:
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.client.client import Client
    from plasm_core.config import Config

F = TypeVar("F", bound=Callable[..., Any])

_MOST_IN_FLIGHT = 1024


@attrs.frozen(kw_only=True)
class RunAs:
    """How a batch is run and shown: see the options."""

    in_flight: int | None
    form: str
    out: Path | None
    quiet: bool
    as_json: bool

    @property
    def options(self) -> str:
        """The options that another command must have to write the results as this one does."""
        form = "" if self.form == "raw" else f" --format {self.form}"
        out = "" if self.out is None else f" --out {shlex.quote(str(self.out))}"
        return out + form

    def run(self, folder: BatchFolder, client: Client, settings: Config) -> int:
        """Run what the batch has not run, and return the exit code. Raises: `PlasmError`."""
        from plasm_core.cli.batch_results import Results
        from plasm_core.cli.batch_view import Shown, run_batch

        shown = Shown(folder.path, quiet=self.quiet, as_json=self.as_json, options=self.options)
        is_reduced = "reduce" in folder.facts()
        results = Results(folder, form="none" if is_reduced else self.form, out=self.out)
        code = run_batch(folder, client, shown, results, most=self.in_flight)
        if self.out is not None:
            write_receipt(folder, self.out, settings)
        return self._reduce(folder, client, settings) if is_reduced and code == exits.OK else code

    def _reduce(self, folder: BatchFolder, client: Client, settings: Config) -> int:
        """Reduce the results of a batch, level by level, and print the last one. Return the exit code."""
        from plasm_core.batch.reduction import levels
        from plasm_core.cli.batch_results import Results
        from plasm_core.cli.batch_view import Shown, run_batch

        with contextlib.closing(levels(folder)) as made:
            for level in made:
                out = None if self.out is None else self.out / level.path.name
                form = self.form if level.counts().total == 1 else "none"
                shown = Shown(folder.path, quiet=self.quiet, as_json=self.as_json, options=self.options)
                code = run_batch(
                    level, client, shown, Results(level, form=form, out=out), most=self.in_flight
                )
                if out is not None:
                    write_receipt(level, out, settings)
                if code != exits.OK:
                    return code
        return exits.OK


def write_receipt(folder: BatchFolder, target: Path, settings: Config) -> None:
    """Write `batch.json` into a directory, signed with the client's own key if it has one.

    Raises: `OutputFileError`, `StorageError`.
    """
    from plasm_core.batch.receipt import batch_document, existing_signer
    from plasm_core.local_node import LocalNode
    from plasm_core.output_file import OutputFile

    with LocalNode(settings) as node:
        document = batch_document(folder, existing_signer(node.signer))
    target.mkdir(parents=True, exist_ok=True)
    OutputFile.prepared(str(target / "batch.json")).write(document.to_json())


_OPTIONS = (
    click.option(
        "--in-flight", type=click.IntRange(1, _MOST_IN_FLIGHT), metavar="N", help="At most N jobs at once."
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(("raw", "jsonl", "none")),
        default="raw",
        help="What is printed of each job: its stdout if it succeeded (the default), a JSON object, or nothing.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write a folder a job: stdout, stderr, receipt, manifest.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print no progress and no summary on stderr."),
    click.option(
        "--json", "as_json", is_flag=True, help="Print progress as JSON objects on stderr, one a line."
    ),
)


def run_options(command: F) -> F:
    """Give a command the options of running a batch; it receives `run_as: RunAs`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        in_flight: int | None,
        form: str,
        out: Path | None,
        quiet: bool,
        as_json: bool,
        **values: Any,
    ) -> Any:
        if out is not None:
            from plasm_core.client.output_tree import prepared_folder

            prepared_folder(str(out))
        found = RunAs(in_flight=in_flight, form=form, out=out, quiet=quiet, as_json=as_json)
        return command(*args, run_as=found, **values)

    decorated: Any = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def reach_of(folder: BatchFolder, given: node_options.Reach) -> node_options.Reach:
    """Return where the batch finds its nodes: as it began, unless the command line says otherwise."""
    if given != node_options.Reach(remote=False, peer=None, bootstrap=(), node_class=ANY_NODE):
        return given
    try:
        began = folder.facts()["reach"]
        return node_options.Reach(**{**began, "bootstrap": tuple(began["bootstrap"])})
    except (KeyError, TypeError) as exc:
        raise PlasmError(f"the batch in {folder.path} does not say where its nodes are: {exc}") from exc
