"""`plasm inspect`: what a module is, and which engine can run it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import click

from plasm_core import plugins
from plasm_core.cli import exits, options, render
from plasm_core.config import Config
from plasm_core.engine import PAGE_BYTES
from plasm_core.errors import PluginError
from plasm_core.node import Node
from plasm_core.records import sha256
from plasm_core.sandbox.prepare import ModuleInfo


@options.command()
@click.argument("module")
@options.json_option
@options.configured(choices=("validator",))
@click.pass_context
def inspect(ctx: click.Context, module: str, as_json: bool, settings: Config) -> None:
    """Validate MODULE, show what it needs, and which installed engine can run it.

    Exit code 1 if no engine could.
    """
    code = options.read_file(module, maximum=settings.admission.module_bytes, what="module")
    node = Node(settings)
    preparation = node.inspect(code)
    engines = [] if preparation.info is None else _engines(node, preparation.info)
    runnable = not preparation.problems and any(lacking == "" for _, lacking in engines)
    if as_json:
        render.show_json(
            {
                "digest": sha256(code),
                "module": attrs.asdict(preparation.info) if preparation.info else None,
                "problems": [attrs.asdict(problem) for problem in preparation.problems],
                "runtimes": {name: lacking or "ok" for name, lacking in engines},
            }
        )
        ctx.exit(exits.OK if runnable else exits.FAILURE)
    if preparation.info is not None:
        render.show_fields([("digest", sha256(code)), *_fields(preparation.info)])
    for problem in preparation.problems:
        render.show_mark("✗", f"{problem.message} ({problem.reason})")
        if problem.hint:
            render.show_mark("!", problem.hint)
    if not preparation.problems:
        for name, lacking in engines:
            render.show_mark("✗" if lacking else "✓", f"{name}: {lacking or 'can run it'}")
    ctx.exit(exits.OK if runnable else exits.FAILURE)


def _engines(node: Node, info: ModuleInfo) -> list[tuple[str, str]]:
    """Return each runtime and what keeps it from running the module, empty if nothing does."""
    found = []
    for plugin in plugins.inventory(node.config.table):
        if plugin.kind != "runtime":
            continue
        try:
            runtime = node.runtime(plugin.name)
        except PluginError as exc:
            found.append((plugin.name, str(exc)))
            continue
        lacking = sorted(set(info.features) - runtime.features)
        found.append((plugin.name, f"lacks {', '.join(lacking)}" if lacking else ""))
    return found


def _fields(info: ModuleInfo) -> list[tuple[str, str | Sequence[str]]]:
    memory = f"{info.memory_min_pages * PAGE_BYTES:,} bytes to start with"
    if info.memory_max_pages is not None:
        memory += f", at most {info.memory_max_pages * PAGE_BYTES:,}"
    return [
        ("size", f"{info.size_bytes:,} bytes, {info.functions:,} functions"),
        ("memory", memory),
        ("features", ", ".join(info.features) or "none beyond WebAssembly 1.0"),
        ("imports", info.imports or "none"),
        ("exports", info.exports or "none"),
    ]
