"""`plasm plugins`: list the plugins that are installed, broken, or available to install."""

from __future__ import annotations

import click

from plasm_core.cli import exits, options, render
from plasm_core.config import Config
from plasm_core.plugins import loading as registry

_MARKS = {"installed": "✓", "missing": "-", "broken": "✗", "conflict": "✗"}


@options.command()
@options.json_option
@options.configured(choices=())
@click.pass_context
def plugins(ctx: click.Context, as_json: bool, settings: Config) -> None:
    """List plugins: installed ones, ones that could be installed, and broken ones with the reason.

    Exit code 4 if one is broken.
    """
    found = registry.inventory(settings.table)
    if as_json:
        render.show_json(render.fields_json(found))
    else:
        rows = [
            (
                _MARKS[item.state],
                item.kind,
                item.name,
                f"{item.distribution} {item.version}" if item.distribution else "",
                item.install or item.hint or item.reason or "",
            )
            for item in found
        ]
        render.show_rows(("", "kind", "name", "from", "to do"), rows)
    broken = any(item.state in ("broken", "conflict") for item in found)
    ctx.exit(exits.PLUGIN if broken else exits.OK)
