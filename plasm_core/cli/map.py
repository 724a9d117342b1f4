"""`plasm map`: one module over many inputs, as a batch that an interrupt does not lose."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import attrs
import click

from plasm_core.cli import batch_run, exits, node_options, option_values, options, render
from plasm_core.cli.command_class import Command
from plasm_core.cli.file_options import FileOptions, file_options
from plasm_core.config import Config


class _Command(Command):
    """Takes all words behind `--inputs`, up to the next option, as files: a shell makes them of `data/*`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread, takes, words = list[str](), False, iter(args)
        for word in words:
            if word == "--":
                spread += [word, *words]
            elif word == "--inputs":
                takes = True
                spread += [word, *itertools.islice(words, 1)]
            elif word.startswith("-") and word != "-":
                takes = word.startswith("--inputs=")
                spread.append(word)
            else:
                spread += ["--inputs", word] if takes else [word]
        return super().parse_args(ctx, spread)


@click.command(
    cls=_Command, name="map", epilog=exits.EPILOGUE, context_settings={"ignore_unknown_options": True}
)
@click.argument("module", type=click.Path(), required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--lines", "lines_file", metavar="FILE", help="A job for each line of FILE, - for standard input."
)
@click.option(
    "--inputs", multiple=True, metavar="FILE…", help="A job for each FILE, which is its standard input."
)
@click.option(
    "--range", "range_", metavar="END|START:END[:STEP]", help="A job for each number, END left out."
)
@click.option("--csv", "csv_file", metavar="FILE", help="A job for each row of a table with named columns.")
@click.option("--jsonl", "jsonl_file", metavar="FILE", help="A job for each line of FILE, a JSON object.")
@click.option("--jobs", "jobs_file", metavar="FILE", help="A job for each line of FILE, described as JSON.")
@click.option(
    "--arg",
    "arg_texts",
    multiple=True,
    metavar="TEMPLATE",
    help="More arguments, split into words as a shell does.",
)
@click.option(
    "--reduce",
    "reduce_module",
    metavar="MODULE",
    help="Run MODULE on all results, in order and each behind its length, and print its result.",
)
@click.option(
    "--fan-in",
    type=click.IntRange(2, 1 << 20),
    metavar="N",
    help="Reduce in levels: each job takes N results, until one is left.",
)
@click.option("--stdin-text", metavar="TEMPLATE", help="The job's standard input, with fields filled in.")
@options.task
@file_options(limits=True, keeps=True)
@node_options.reach
@click.option(
    "--batch", "batch_dir", type=click.Path(path_type=Path), metavar="DIR", help="Keep the batch in DIR."
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with the batch in DIR.")
@batch_run.run_options
@options.configured(choices=("verifier", "require"), reuse=True)
@click.pass_context
def map_command(
    ctx: click.Context,
    module: str | None,
    args: tuple[str, ...],
    arg_texts: tuple[str, ...],
    stdin_text: str | None,
    reduce_module: str | None,
    fan_in: int | None,
    task: options.Task,
    job_files: FileOptions,
    reach: node_options.Reach,
    batch_dir: Path | None,
    resume: Path | None,
    run_as: batch_run.RunAs,
    settings: Config,
    lines_file: str | None,
    inputs: tuple[str, ...],
    range_: str | None,
    csv_file: str | None,
    jsonl_file: str | None,
    jobs_file: str | None,
) -> None:
    """Run MODULE once for each input, on the daemon or on many nodes, and print the results in order.

    ARGS are templates: {} is the input, {n} its number from 0, {name} a column. An input that is a line is the
    job's standard input if no template has a field. Put -- before arguments that look like options.

    The batch is on the disk before its first job is sent. After an interrupt or a crash `plasm map --resume DIR` goes
    on, and prints all results from the first on. Its folder has the handles of jobs: keep it like a password.
    Exit code 0 only if every job succeeded.
    """
    from plasm_core.batch import known
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.batch.reduction import keep_module

    sources = {
        "lines": lines_file,
        "inputs": inputs,
        "range": range_,
        "csv": csv_file,
        "jsonl": jsonl_file,
        "jobs": jobs_file,
    }
    if fan_in is not None and reduce_module is None:
        raise click.UsageError("--fan-in is about a reduction: it needs --reduce")
    option_values.read_once(
        module, reduce_module, task.stdin_file, lines_file, csv_file, jsonl_file, jobs_file
    )
    reducing = b"" if reduce_module is None else task.module(reduce_module)
    if resume is not None:
        if module is not None or batch_dir is not None or reduce_module is not None or any(sources.values()):
            raise click.UsageError("--resume has modules and inputs from DIR: give none")
        if job_files.given:
            raise click.UsageError("--resume has the files from DIR: give none")
        folder = BatchFolder.open(resume)
        reach = batch_run.reach_of(folder, reach)
    else:
        if module is None:
            where = (
                " MODULE comes before --inputs, which takes all words up to the next option."
                if inputs
                else ""
            )
            raise click.UsageError(f"Missing argument 'MODULE'.{where}")
        if job_files.outputs and run_as.out is None and batch_dir is None:
            raise click.UsageError("--keep needs --out DIR, which gets what the jobs left, or --batch DIR")
        job_files.refuse_places("each job has a folder of its own in the DIR of --out")
        folder = _begun(
            *(module, (*args,), arg_texts, stdin_text, task, job_files, reach, batch_dir, sources)
        )
    with folder:
        known.remember(folder.path)
        if reduce_module is not None:
            keep_module(folder, reducing, fan_in or 0)
        code = run_as.run(folder, reach.client(settings), settings)
        if code == exits.OK and batch_dir is None and resume is None:
            folder.remove()
    ctx.exit(code)


def _begun(
    module: str,
    args: tuple[str, ...],
    arg_texts: tuple[str, ...],
    stdin_text: str | None,
    task: options.Task,
    job_files: FileOptions,
    reach: node_options.Reach,
    batch_dir: Path | None,
    sources: dict[str, Any],
) -> Any:
    """Make the folder of a new batch with all its jobs. Raises: `PlasmError`, `click.ClickException`."""
    from plasm_core.batch import known, plan
    from plasm_core.batch.files import keep_tree
    from plasm_core.batch.folder import BatchFolder
    from plasm_core.batch.template import Template, words
    from plasm_core.records import JobInput, sha256
    from plasm_core.records.manifest import manifest_of

    files = [sources["lines"], sources["csv"], sources["jsonl"], sources["jobs"]]
    option_values.read_once(module, task.stdin_file, *files)
    if stdin_text is not None and task.stdin_file is not None:
        raise click.UsageError("--stdin-text and --stdin exclude each other")
    templates = plan.Templates(
        args=(*map(Template.parse, args), *words(arg_texts)),
        env=tuple(Template.parse(os.fsdecode(item)) for item in task.env),
        stdin=None if stdin_text is None else Template.parse(stdin_text),
    )
    inputs = _inputs(sources)
    terms = plan.BatchTerms(
        limits=task.limits,
        wall_time_s=task.wall_time_s,
        seed=task.seed,
        grants=tuple(task.grants),
        entry=task.entry,
        profile=task.profile,
    )
    try:
        manifest_of(module=sha256(b""), inputs=JobInput(), stdin=sha256(b""), **task.terms)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    data = task.module(module)
    path = known.new_folder() if batch_dir is None else batch_dir
    facts = {
        "created_at": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        "module": sha256(data),
        "module_name": Path(module).name,
        "terms": terms.to_json(),
        "reach": attrs.asdict(reach),
    }

    def copy(file: IO[bytes]) -> None:
        with file:
            file.write(data)

    folder = BatchFolder.create(path, facts, copy)
    try:
        if task.stdin_file is not None:
            _copy_stdin(folder, task.stdin_file)
        if job_files.given:
            with job_files.packed() as (pack, asked):
                keep_tree(folder, pack, asked)
        with render.phases() as progress:
            progress("reading the inputs")
            for _count in plan.add_jobs(folder, inputs, templates, terms):
                pass
    except BaseException:
        folder.close()
        shutil.rmtree(path, ignore_errors=True)  # nothing was sent
        raise
    return folder


def _copy_stdin(folder: Any, path: str) -> None:
    data = option_values.read_file(path, maximum=options.MAX_STDIN_BYTES, what="standard input")

    def copy(file: IO[bytes]) -> None:
        file.write(data)

    folder.keep_stdin(copy)


def _inputs(sources: dict[str, Any]) -> Iterator[Any]:
    """Return the inputs of the one source that was named. Raises: `click.UsageError`."""
    from plasm_core.batch import inputs

    made = {
        "lines": inputs.from_lines,
        "inputs": inputs.from_files,
        "range": inputs.from_range,
        "csv": inputs.from_csv,
        "jsonl": inputs.from_jsonl,
        "jobs": inputs.from_descriptions,
    }
    given = [name for name in made if sources[name]]
    if len(given) != 1:
        raise click.UsageError("name the inputs by one of --lines, --inputs, --range, --csv, --jsonl, --jobs")
    return made[given[0]](sources[given[0]])
