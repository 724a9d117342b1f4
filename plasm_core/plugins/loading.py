"""Finding, selecting and configuring plugins.

Names come from the metadata of installed distributions: entry points in group `plasm`, named `<kind>_<name>`. Only
selected plugins are imported, so that no other code runs in a process with a key. There is no fallback: a plugin that
cannot be loaded is an error with the reason.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs
import pluggy

from plasm_core.config_origins import meant, under
from plasm_core.entry_points import EntryPoint
from plasm_core.entry_points import read as installed
from plasm_core.errors import (
    ConfigError,
    InvalidRecordError,
    PlasmError,
    PluginBrokenError,
    PluginConflictError,
    PluginError,
    PluginMissingError,
)
from plasm_core.plugins import hookspecs
from plasm_core.plugins.component import Component
from plasm_core.plugins.failure import failure_of
from plasm_core.plugins.interfaces import KINDS
from plasm_core.records.converter import structure

CATALOGUE: dict[str, str] = {
    "discovery_kademlia": "pip install 'phase-plasm[libp2p]'",
    "runtime_wasm3": "CFLAGS=-Wno-error=incompatible-pointer-types pip install 'phase-plasm[wasm3]'",
    "runtime_wasmer": "pip install 'phase-plasm[wasmer]'",
    "transport_libp2p": "pip install 'phase-plasm[libp2p]'",
}
"""Plugins of this project that an installation may lack: entry point name → the command that installs it."""

_LIBRARIES = {
    "discovery_kademlia": "libp2p",
    "runtime_v8": "py_mini_racer",
    "runtime_wasm3": "wasm3",
    "runtime_wasmer": "wasmer",
    "transport_libp2p": "libp2p",
}
"""The library that a plugin of this project needs from an extra."""

C = TypeVar("C", bound=Component)


@attrs.frozen(kw_only=True)
class PluginInfo:
    """One plugin as `plasm plugins` lists it. `state` is installed, missing, broken or conflict."""

    kind: str
    name: str
    state: str
    distribution: str | None = None
    version: str | None = None
    reason: str | None = None
    install: str | None = None
    hint: str | None = None


def entry_points() -> dict[str, list[EntryPoint]]:
    """Return the entry points of the group by name. A name with several has several distributions that provide it."""
    found: dict[str, list[EntryPoint]] = {}
    for point in installed():
        found.setdefault(point.name, []).append(point)
    return found


def load(kind: str, name: str) -> type[Component]:
    """Import a plugin and return its component class.

    Raises: `PluginMissingError`, `PluginConflictError`, `PluginBrokenError`.
    """
    full = f"{kind}_{name}"
    points = entry_points()
    providers = points.get(full, [])
    if not providers:
        raise _missing(kind, name, points)
    if len(providers) > 1:
        names = " and ".join(sorted(str(point.distribution) for point in providers))
        raise PluginConflictError(
            f"two distributions provide the {kind} {name}: {names}", hint="uninstall one of them"
        )
    try:
        module = providers[0].load()
    except Exception as exc:
        raise PluginBrokenError(
            f"the {kind} {name} is installed, but importing {providers[0].value} failed: {failure_of(exc)}"
        ) from exc
    return _component(module, kind, name)


def _missing(kind: str, name: str, points: Mapping[str, object]) -> PluginMissingError:
    full = f"{kind}_{name}"
    if full in CATALOGUE:
        return PluginMissingError(
            f"the {kind} {name} is not installed", hint=f"install it with: {CATALOGUE[full]}"
        )
    known = sorted(
        point.partition("_")[2] for point in points if point.startswith(f"{kind}_") and _has_libraries(point)
    )
    return PluginMissingError(
        f"no installed distribution provides the {kind} {name}",
        hint=f"installed: {', '.join(known)}{meant(name, known)}" if known else f"no {kind} is installed",
    )


def _has_libraries(point: str) -> bool:
    """Return whether a plugin of this project has its library; other plugins are not imported to find out."""
    library = _LIBRARIES.get(point)
    return library is None or importlib.util.find_spec(library) is not None


def _component(module: Any, kind: str, name: str) -> type[Component]:
    """Return the class that a plugin module registers under a name. Raises: `PluginBrokenError`."""

    def broken(reason: str) -> PluginBrokenError:
        return PluginBrokenError(f"the {kind} {name} is installed, but {reason}")

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
        manager.check_pending()
        answers = getattr(manager.hook, f"plasm_{kind}")()
        for answer in answers:
            if not isinstance(answer, (list, tuple)):
                raise TypeError(f"plasm_{kind} returned {answer!r:.200}, which is no list of classes")
        classes = [cls for answer in answers for cls in answer]
    except Exception as exc:
        raise broken(f"its hooks fail: {failure_of(exc)}") from exc
    matching = [cls for cls in classes if getattr(cls, "name", None) == name]
    if len(matching) != 1:
        raise broken(
            f"its hook plasm_{kind} returns {len(matching)} classes of that name; "
            + (
                f"it returned {answers[0]!r:.200}"
                if answers
                else f"there is no hook, or it returned nothing ({module.__file__})"
            )
        )
    component = matching[0]
    if not (isinstance(component, type) and issubclass(component, KINDS[kind])):
        raise broken(f"{component!r} is no {KINDS[kind].__name__}")
    if inspect.isabstract(component):
        raise broken(f"{component.__name__} lacks {', '.join(sorted(component.__abstractmethods__))}")
    return component


def create(cls: type[C], name: str, table: Mapping[str, Any]) -> C:
    """Load the plugin of a kind by name and configure it from its table.

    Raises: `PluginError`; `ConfigError` naming each wrong key.
    """
    component = load(cls.kind, name)
    where = f"{cls.kind}.{name}"
    try:
        made: Component
        if attrs.has(component):
            made = cast(Component, structure(dict(table), component, record=where))
        elif table:
            raise InvalidRecordError(where, [(key, "unknown field") for key in sorted(table)])
        else:
            made = component()
        made.check()
        return cast(C, made)
    except InvalidRecordError as exc:
        known = [item.name for item in attrs.fields(component)] if attrs.has(component) else []
        problems = under(where, exc.problems, known)
        text = "; ".join(f"{path}: {text}" for path, text in problems)
        raise ConfigError(text, problems=tuple(problems)) from exc
    except PlasmError:
        raise
    except Exception as exc:
        raise PluginBrokenError(f"the {cls.kind} {name} cannot be made: {failure_of(exc)}") from exc


def inventory(table: Callable[[str, str], Mapping[str, Any]] = lambda kind, name: {}) -> list[PluginInfo]:
    """Return every plugin that is installed or could be, each tested by creating it.

    `table` returns a plugin's configuration for a kind and a name.
    """
    points = entry_points()
    found = []
    for full in sorted(set(points) | set(CATALOGUE)):
        kind, _, name = full.partition("_")
        point = points[full][0] if full in points else None
        info = PluginInfo(
            kind=kind,
            name=name,
            state="installed",
            distribution=point.distribution if point else None,
            version=point.version if point else None,
        )
        if kind not in KINDS:
            found.append(attrs.evolve(info, state="broken", reason=f"there is no kind of plugin {kind}"))
            continue
        try:
            create(KINDS[kind], name, table(kind, name))
        except (PluginError, ConfigError) as exc:
            states: dict[type, str] = {PluginMissingError: "missing", PluginConflictError: "conflict"}
            command = (exc.hint or "").partition("install it with: ")[2]
            hint = None if command else exc.hint
            info = attrs.evolve(
                info,
                state=states.get(type(exc), "broken"),
                reason=str(exc),
                install=command or None,
                hint=hint,
            )
        found.append(info)
    return found
