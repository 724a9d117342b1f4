"""docs/reference/configuration.md: every setting with its default and bounds, out of the code that reads it."""

from __future__ import annotations

import inspect
import json
import os
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from docs.generate.commands import cell
from plasm_core import config
from plasm_core.interpreter import Interpreter
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import KINDS
from plasm_core.records.fields import JSON_NAME, MAX_INTEGER, constraint_of

HEAD = """\
# Configuration

```sh
plasmd --check --set limits.gas=1000000000      # lists the errors of the configuration
plasm run --set admission.cpu_s=30 --set 'policy.grants=["clock.real"]' examples/hello/hello.wasm
```

Every setting of `plasm` and `plasmd`, with its default and the values that it accepts.
Flags beat the environment, the environment beats the file, the file beats the defaults.

- **The file** is TOML: the one that `--config` or `PLASM_CONFIG` names, else `~/.config/plasm/plasm.toml`. The packaged daemon has `/etc/plasm/plasmd.toml`.
- **Drop-ins** are the files `*.toml` in the directory beside the file whose name ends in `.d`: `plasmd.d` for `plasmd.toml`. They are read after the file in the order of their names, at most 64, and each changes single settings. Put your own settings there: an upgrade never touches them.
- **In the environment** `PLASM_LIMITS__GAS` is `limits.gas`, and `PLASM_RUNTIME` is `plasm.runtime`.
- **On the command line** `--set admission.cpu_s=30` sets anything that the command uses, and the choices of `[plasm]` have flags, such as `--runtime`. A setting that the command does not use is refused there: `plasm submit --set policy.lend=true` changes no daemon.

A name that is not here is an error, and so is a value out of bounds.
Units are in the names: `_bytes`, and `_s` for seconds.
`systemctl reload plasmd`, or SIGHUP, applies changes; the sections `plasm`, `sandbox` and `storage` and the plugins' tables need a restart.
"""
PLUGINS = """\
## Tables of plugins

Each plugin that has settings has a table of its own, by kind and name.
Of those that are not chosen in `[plasm]` nothing is read.
"""
STATE = "/var/lib/plasm"
"""Where the state is in defaults that are shown, as in the package."""
_LONG = 100_000
"""From here on numbers have their thousands apart, as TOML allows."""


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    with _packaged():
        sections = [item for item in attrs.fields(config.Config) if attrs.has(type(item.default))]
        parts += [_section(item.name, type(item.default)) for item in sections]
        parts.append(_section("interpreters.EXTENSION", Interpreter))
        parts.append(PLUGINS)
        parts += [
            _section(f"{kind}.{name}", cls, level=3) for kind, name, cls in _components() if attrs.fields(cls)
        ]
    return "\n".join(parts)


@contextmanager
def _packaged() -> Iterator[None]:
    """Have defaults be as in the package, wherever this runs."""
    before = os.environ.get("STATE_DIRECTORY")
    os.environ["STATE_DIRECTORY"] = STATE
    try:
        yield
    finally:
        del os.environ["STATE_DIRECTORY"]
        if before is not None:
            os.environ["STATE_DIRECTORY"] = before


def _components() -> Iterator[tuple[str, str, type[Any]]]:
    """Yield each plugin of this distribution."""
    for kind in KINDS:
        for point, entries in sorted(loading.entry_points().items()):
            found, _, name = point.partition("_")
            if found == kind and any(entry.distribution == "phase-plasm" for entry in entries):
                yield kind, name, loading.load(kind, name)


def _section(title: str, cls: type[Any], *, level: int = 2) -> str:
    lines = [f"{'#' * level} `[{title}]`", ""]
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        lines += [" ".join(paragraph.replace("``", "`").split()), ""]
    lines += ["| setting | default | takes |", "|---|---|---|"]
    types = typing.get_type_hints(cls)
    for item in attrs.fields(cls):
        constraint = constraint_of(item)
        takes = _takes(constraint.schema, item.name) if constraint else _annotated(types[item.name])
        if constraint and constraint.accepts(None):
            takes += ", or nothing"
        name = item.metadata.get(JSON_NAME) or item.name
        lines.append(f"| `{name}` | {_default(item)} | {cell(takes)} |")
    return "\n".join([*lines, ""])


def _default(item: attrs.Attribute[Any]) -> str:
    factory = getattr(item.default, "factory", None)  # attrs.Factory, which is a function to type checkers
    value = item.default if factory is None else factory()
    if value is attrs.NOTHING:
        return "must be given"
    if value is None:
        return "none"
    return f"`{_toml(value)}`{_measure(item.name, value)}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if type(value) is int and value >= _LONG:
        return f"{value:_}"
    return json.dumps(value, ensure_ascii=False)


def _measure(name: str, value: object) -> str:
    """Return what a number is in the greatest unit that leaves nothing over, by its setting's name."""
    name = name.removesuffix("_per_hour")
    sizes, times = (
        ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")),
        ((86_400, "d"), (3600, "h"), (60, "min")),
    )
    units = sizes if name.endswith("_bytes") else times if name.endswith("_s") else ()
    for size, unit in units:
        if type(value) is int and value and value % size == 0:
            return f" ({value // size:,} {unit})"
    return ""


def _takes(schema: Mapping[str, Any], name: str) -> str:
    """Say what a schema takes."""
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(item)}`" for item in schema["enum"] if item is not None)
    kind = schema.get("type")
    kind = next((item for item in kind if item != "null"), None) if isinstance(kind, list) else kind
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "integer":
        least, most = schema["minimum"], schema["maximum"]
        if most == MAX_INTEGER:
            return f"{least:,}{_measure(name, least)} or more"
        return f"{least:,}{_measure(name, least)} to {most:,}{_measure(name, most)}"
    if kind == "number":
        return f"{schema['minimum']:g} to {schema['maximum']:g}"
    if kind == "array":
        return f"a list of {_items(schema['items'])}"
    return _text(schema)


def _annotated(kind: object) -> str:
    """Say what a field takes that has no constraint."""
    if typing.get_origin(kind) is typing.Literal:
        return _takes({"enum": typing.get_args(kind)}, "")
    return {str: "a string", int: "a whole number", bool: "`true` or `false`"}[kind]  # type: ignore[index]


def _items(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(item)}`" for item in schema["enum"])
    known = {
        "^([a-z0-9]+)$": "names",
        "^(/[!-~]+)$": "multiaddrs",
        "^(12D3KooW[1-9A-HJ-NP-Za-km-z]{44})$": "PeerIds",
        "^([^\\x00]*)$": "strings",
        "^([^\\x00=]+=[^\\x00]*)$": "NAME=VALUE",
        "^((/|~/)[^\\x00-\\x1f\\x7f]*)$": "HOST:GUEST, in which HOST begins with `/` or `~/`",
    }
    return known.get(schema["pattern"], f"`{schema['pattern']}`")


def _text(schema: Mapping[str, Any]) -> str:
    known = {
        "^([a-z0-9]+)$": "a name",
        "^(/.+)$": "an absolute path",
        "^(/[!-~]+)$": "a name that begins with `/`",
        "^(0?[0-7]{3})$": "three octal digits",
        "^([a-z_][a-z0-9_-]*)$": "the name of a group",
        "^((/|~/)[^\\x00-\\x1f\\x7f]*)$": "a path that begins with `/` or `~/`",
        "^([0-9a-f]{64})$": "64 hexadecimal digits",
        "^[0-9a-f]{64}$": "64 hexadecimal digits",
    }
    return known.get(schema["pattern"], "a path" if "\\x00" in schema["pattern"] else "a string")
