"""`plasm inspect`: describe a module, and say which engines can run it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import click

from plasm_core.cli import exits, option_values, options, render
from plasm_core.config import Config
from plasm_core.errors import PluginError
from plasm_core.local_node import LocalNode
from plasm_core.plugins import loading
from plasm_core.plugins.engine import PAGE_BYTES
from plasm_core.records import sha256
from plasm_core.sandbox.admission.compiler_flags import advice_against, flags_against
from plasm_core.sandbox.admission.fit import lacking
from plasm_core.sandbox.metering.injected import START_FUNCTION
from plasm_core.sandbox.program import ModuleInfo


@options.command()
@click.argument("module")
@click.option("--entry", metavar="NAME", help="Look at it as a job does that calls this export.")
@options.json_option
@options.configured(choices=("validator",))
@click.pass_context
def inspect(ctx: click.Context, module: str, entry: str | None, as_json: bool, settings: Config) -> None:
    """Validate MODULE, and show its requirements and the installed engines that can run it.

    Exit code 1 if no engine could. A module without _start can run if it exports a function for --entry.
    """
    code = option_values.read_module(module, settings)
    node = LocalNode(settings)
    preparation = node.inspect(code, entry=entry)
    info = preparation.info
    if info is not None and info.entries and [item.reason for item in preparation.problems] == ["no_start"]:
        # A reactor runs only if the job names an entry: inspect it as for a job that names the first one.
        preparation = attrs.evolve(preparation, problems=[])
    engines = [] if preparation.info is None else _engines(node, preparation.info)
    runnable = not preparation.problems and any(not engine.why_not() for engine in engines)
    if as_json:
        render.show_json(
            {
                "digest": sha256(code),
                "module": render.fields_json(preparation.info),
                "problems": render.fields_json(preparation.problems),
                "runtimes": {engine.name: engine.why_not() or "ok" for engine in engines},
                "flags": {engine.name: flags_against(engine.lacks) for engine in engines if engine.lacks},
            }
        )
        ctx.exit(exits.OK if runnable else exits.FAILURE)
    if preparation.info is not None:
        render.show_fields([("digest", sha256(code)), *_fields(preparation.info)])
        for words in [] if preparation.problems else _advice(preparation.info, entry):
            render.show_mark("!", words)
    hints = set[str]()
    for problem in preparation.problems:
        render.show_mark("✗", f"{problem.message} ({problem.reason})")
        if (
            problem.hint and problem.hint not in hints
        ):  # one build has many imports that the same flag removes
            hints.add(problem.hint)
            render.show_mark("!", problem.hint)
    if not preparation.problems:
        for engine in engines:
            why_not = engine.why_not()
            render.show_mark("✗" if why_not else "✓", f"{engine.name}: {why_not or 'can run it'}")
            if advice := advice_against(engine.lacks):
                render.show_mark("!", f"to run it on {engine.name}, build it with {advice}")
    ctx.exit(exits.OK if runnable else exits.FAILURE)


@attrs.frozen(kw_only=True)
class _Fit:
    """A runtime, the features that it lacks to run a module, and why it cannot be used at all, if it cannot."""

    name: str
    lacks: list[str] = attrs.field(factory=list)
    unusable: str = ""

    def why_not(self) -> str:
        """Return what keeps it from running the module, empty if nothing does."""
        return self.unusable or (f"lacks {', '.join(self.lacks)}" if self.lacks else "")


def _engines(node: LocalNode, info: ModuleInfo) -> list[_Fit]:
    """Return each runtime, and whether it can run the module."""
    found = []
    for plugin in loading.inventory(node.config.table):
        if plugin.kind != "runtime":
            continue
        try:
            runtime = node.runtime(plugin.name)
        except PluginError as exc:
            found.append(_Fit(name=plugin.name, unusable=str(exc)))
            continue
        found.append(_Fit(name=plugin.name, lacks=lacking(info, runtime)))
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
        *([("entries", info.entries)] if info.entries else []),
    ]


def _advice(info: ModuleInfo, entry: str | None) -> list[str]:
    """Return the advice for a module that can run but may not do what its author expects."""
    mute = (
        []
        if info.imports
        else ["it imports nothing, so it can neither read its input nor print: build it for WASI"]
    )
    return [*mute, *_entry_advice(info, entry)]


def _entry_advice(info: ModuleInfo, entry: str | None) -> list[str]:
    """Return the advice for a module with entries."""
    if entry is not None or not info.entries:
        return []
    name = f"--entry {info.entries[0]}"
    if f"function {START_FUNCTION}" not in info.exports:
        return [f"it has no {START_FUNCTION}: run it with --entry, as in plasm run {name}"]
    if info.start_is_empty:
        return [f"its {START_FUNCTION} does nothing: its work may be in an entry, as in plasm run {name}"]
    return []
