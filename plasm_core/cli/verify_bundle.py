"""`plasm verify study.zip`: do all receipts of a bundle hold, and is everything there that they name?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from plasm_core import assurance
from plasm_core.bundle.archive import Archive, read_archive
from plasm_core.bundle.check import Checked, check
from plasm_core.cli import exits, options, render
from plasm_core.cli.receipt_files import RECEIPT_FILES
from plasm_core.client.receipt_verification import standing_of
from plasm_core.local_node import LocalNode
from plasm_core.records import Decision, PeerId


def verify_file(
    ctx: click.Context,
    path: str,
    node: LocalNode,
    own: frozenset[PeerId],
    named: frozenset[PeerId],
    as_json: bool,
    quiet: bool,
) -> int:
    """Verify a bundle, show the verdict on each task in it, and return the exit code."""
    options.refuse_given(ctx, (*RECEIPT_FILES, "job"), "is in a bundle already: it has no effect")
    require = node.config.plasm.require
    archive = read_archive(Path(path))
    reexecute = any("signature" not in each.establishes for each in node.verifiers)
    found = [
        (item, _lacking(item, require, own, named))
        for item in check(archive, node, own | named, reexecute=reexecute)
    ]
    code = _code(archive, found)
    if as_json:
        render.show_json(_json(archive, found, own, named, code))
        return code
    if quiet and code == exits.OK:
        return code
    for problem in archive.problems:
        render.show_mark("✗", problem)
    for item, lacking in found:
        standing = standing_of(item.verdict, own, named)
        mark, words = render.verdict_line(item.verdict, standing=standing)
        render.show_mark("✗" if item.problems else mark, f"{', '.join(item.names)}: {words}")
        for problem in item.problems:
            render.show_mark("✗", problem)
        if lacking is not None:
            render.show_mark("?", f"more is required: {lacking}")
    for name in archive.others:
        render.show_mark("!", f"no receipt covers {name}")
    strangers = {str(peer) for item, _ in found for peer in item.verdict.signers} - set(map(str, own | named))
    if strangers and code == exits.UNDECIDED:
        keys = " ".join(f"--key {peer}" for peer in sorted(strangers))
        render.show_hint(f"the bundle cannot say whom you trust; to trust those who signed: {keys}")
    return code


def _lacking(item: Checked, require: str, own: frozenset[PeerId], named: frozenset[PeerId]) -> str | None:
    if item.verdict.decision is not Decision.ACCEPT:
        return None
    return assurance.lacking_in_file(require, item.verdict, standing_of(item.verdict, own, named))


def _code(archive: Archive, found: list[tuple[Checked, str | None]]) -> int:
    decisions = {item.verdict.decision for item, _ in found}
    if archive.problems or Decision.REJECT in decisions or any(item.problems for item, _ in found):
        return exits.REJECTED
    if not found or decisions != {Decision.ACCEPT} or any(lacking is not None for _, lacking in found):
        return exits.UNDECIDED
    return exits.OK


def _json(
    archive: Archive,
    found: list[tuple[Checked, str | None]],
    own: frozenset[PeerId],
    named: frozenset[PeerId],
    code: int,
) -> dict[str, Any]:
    words = {exits.OK: "accept", exits.REJECTED: "reject", exits.UNDECIDED: "undecided"}
    return {
        "decision": words[code],
        "problems": list(archive.problems),
        "uncovered": list(archive.others),
        "tasks": [
            {
                "receipts": list(item.names),
                **render.verdict_json(item.verdict, standing_of(item.verdict, own, named)),
                "outcome": render.outcome_json(item.verdict.outcome),
                "problems": list(item.problems),
                "lacking": lacking,
            }
            for item, lacking in found
        ],
    }
