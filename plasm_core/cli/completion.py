"""Completion of option values in the shell: plugins, this user's jobs, and known peers.

Nothing here fails or waits: a value that cannot be read is not offered.
"""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

_MAX_ITEMS = 200
_MAX_BYTES = 4 << 20


def plugins(kind: str) -> Complete:
    """Return the completion of a plugin's name, or of the last of several that commas separate."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from plasm_core.entry_points import read

        before, comma, last = incomplete.rpartition(",")
        names = sorted(
            {point.name.partition("_")[2] for point in read() if point.name.startswith(f"{kind}_")}
        )
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]

    return complete


def job_ids(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the id of a job that this user submitted: the latest first, with its module."""
    from plasm_core.cli.acceptance import job_history
    from plasm_core.errors import PlasmError

    try:
        entries = job_history().entries()
    except PlasmError:
        return []
    found = [
        CompletionItem(entry.parsed.job_id[:12], help=entry.module)
        for entry in reversed(entries)
        if entry.parsed.job_id.startswith(incomplete)
    ]
    return found[:_MAX_ITEMS]


def peers(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the PeerId of a node that this user's client or daemon knows, from the file of addresses."""
    import re

    from plasm_core import paths
    from plasm_core.errors import PlasmError

    try:
        with (paths.state_directory() / "peers.json").open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except (OSError, PlasmError):
        return []
    names = sorted(set(re.findall(r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}", text)))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)][:_MAX_ITEMS]
