"""`plasm files`: list and read the files that a job left, at the node that has them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import click

from plasm_core.cli import node_options, options, render
from plasm_core.cli.jobs import entry_of, on_job, seconds_of, sent_of, timeout_option
from plasm_core.client.remote_files import LeftEntry
from plasm_core.config import Config
from plasm_core.printable import visible
from plasm_core.quantities import shown_bytes


@options.command()
@on_job
@click.argument("action", type=click.Choice(("ls", "cat")), default="ls")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@timeout_option(None)
@options.json_option
@options.configured(choices=("verifier", "require"))
def files(
    handle: str,
    action: str,
    paths: tuple[str, ...],
    reach: node_options.Reach,
    timeout: str | None,
    as_json: bool,
    settings: Config,
) -> None:
    """List the files that a job left (ls), or print some of them (cat PATH...).

    Each file is compared with the node's receipt before it is printed. `plasm result HANDLE --out DIR` fetches all files.
    """
    if action == "cat" and not paths:
        raise click.UsageError("cat needs the path of a file, as ls shows it")
    if action == "cat" and as_json:
        raise click.UsageError("--json is for ls")
    job, remembered = entry_of(handle)
    client = reach.client(settings, transport=remembered.transport if remembered else None)
    sent, left_s = sent_of(remembered, reach), _counting_down(seconds_of(timeout))
    with render.phases() as progress:
        progress("asking for the files")
        found = client.list_files(job, timeout_s=left_s(), sent=sent)
    if action == "ls":
        _list([entry for entry in found if _is_in(entry.path, paths)], as_json)
        return
    there = {entry.path: entry for entry in found if entry.kind == "file"}
    for path in paths:
        if path.strip("/") not in there:
            raise click.ClickException(f"the job left no file {visible(path)}")
    for path in paths:
        with render.phases() as progress:
            client.read_file(
                *(job, there[path.strip("/")], sys.stdout.buffer.write),
                timeout_s=left_s(),
                watch=lambda phase, _status, show=progress: show(phase),  # type: ignore[misc]
                sent=sent,
            )
    sys.stdout.buffer.flush()


def _counting_down(timeout_s: float | None) -> Callable[[], float | None]:
    """Return a function that tells the seconds that are left: one timeout holds for all files together."""
    ends_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
    return lambda: None if timeout_s is None else max(0.0, ends_at - time.monotonic())


def _is_in(path: str, wanted: tuple[str, ...]) -> bool:
    places = [item.strip("/") for item in wanted]
    return not places or any(path == place or path.startswith(f"{place}/") for place in places)


def _list(found: list[LeftEntry], as_json: bool) -> None:
    if as_json:
        render.show_json(
            [
                {"path": item.path, "kind": item.kind, "sizeBytes": item.size_bytes, "sha256": item.sha256}
                for item in found
            ]
        )
        return
    rows = [
        (
            visible(item.path) + ("/" if item.kind == "directory" else ""),
            "" if item.size_bytes is None else shown_bytes(item.size_bytes),
            (item.sha256 or "")[:16],
        )
        for item in found
    ]
    if rows:
        render.show_rows(("PATH", "SIZE", "SHA-256"), rows)
    else:
        render.show_hint("the job left no files")
