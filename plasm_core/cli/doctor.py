"""`plasm doctor`: is everything here that jobs need, and how well are they locked in?"""

from __future__ import annotations

from itertools import chain

import click

from plasm_core.cli import exits, options, render
from plasm_core.client.daemon_health import ask_daemon
from plasm_core.config import Config
from plasm_core.diagnostics import FAILURE, OK, WARNING, examine, found
from plasm_core.local_node import LocalNode

_MARKS = {OK: "✓", WARNING: "!", FAILURE: "✗"}


@options.command()
@options.json_option
@options.configured(choices=("runtime", "validator", "signer"), sandboxed=True)
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, settings: Config) -> None:
    """Check key, sandbox layers, engines, disk and clock, and say how to mend each problem.

    A daemon that runs here is asked for more: where it listens, who reaches it and by which evidence, which
    relays and mappings it uses, and whom it knows.

    Exit code 1 if something does not work; what is merely weaker than it could be is marked with !.
    """
    failed = False
    checks = []
    with LocalNode(settings) as node:
        for check in chain(examine(node), found("daemon", lambda: ask_daemon(settings))):
            failed |= check.status == FAILURE
            checks.append(check)
            if not as_json:
                render.show_mark(_MARKS[check.status], f"{check.name}: {check.found}")
                if check.hint:
                    render.show_hint(check.hint)
    if as_json:
        render.show_json(render.fields_json(checks))
    ctx.exit(exits.FAILURE if failed else exits.OK)
