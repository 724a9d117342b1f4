"""Write /etc/plasm/plasmd.toml to standard output: what the package sets.

With `--defaults` write /usr/share/plasm/defaults.toml: every setting with its default, out of the code that reads it.
dpkg asks at each upgrade that changes a file which the administrator has edited. So the file changes rarely, and
settings of the administrator's own belong into /etc/plasm/plasmd.d.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from plasm_core import config
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import KINDS

HEAD = """\
# The configuration of plasmd, the daemon of Plasm: plasmd(1).
#
# Put settings of your own into files beside it, such as /etc/plasm/plasmd.d/lend.toml: they change
# single settings, and no upgrade touches them. /usr/share/plasm/defaults.toml has every setting.
# "systemctl reload plasmd" takes changes over; the sections plasm, sandbox and storage and the
# plugins' tables need "systemctl restart plasmd". "plasmd --check --config FILE" looks for mistakes.
#
# As it stands, the daemon serves the members of the group plasm on this machine and nobody else.
# To run strangers' jobs too: in plasmd.d/lend.toml transport = ["local", "libp2p"] in [plasm] and
# lend = true in [policy]; and port 4001 open in the firewall, for TCP and UDP.
"""
DEFAULTS_HEAD = """\
# Every setting of plasmd with its default, to copy lines from into /etc/plasm/plasmd.d/*.toml.
# A line that begins with # and a name shows a default. This file is not read by anything.
"""
PACKAGED: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("transport", "local"): {"mode": "0660", "group": "plasm"},
}
"""What the package sets, by kind and name of a plugin."""
ABSENT = frozenset({("runtime", "wasmer")})
"""Plugins that are in the distribution, and without their engine in the package."""
WIDTH = 100


def render() -> str:
    """Return the configuration file of the package."""
    tables = (
        "\n".join([f"[{kind}.{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""])
        for (kind, name), values in PACKAGED.items()
    )
    return "\n".join([HEAD, *tables])


def render_defaults() -> str:
    """Return the list of every setting with its default."""
    parts = [DEFAULTS_HEAD]
    parts += [
        _table(name, cls, heading="#[{}]")
        for name, cls in ((item.name, type(item.default)) for item in attrs.fields(config.Config))
        if attrs.has(cls)
    ]
    for kind, name in _components():
        parts.append(_table(f"{kind}.{name}", loading.load(kind, name), heading="#[{}]"))
    return "\n".join(part for part in parts if part)


def _components() -> Iterator[tuple[str, str]]:
    """Yield kind and name of each plugin of this distribution that the package can use."""
    for kind in KINDS:
        for point in sorted(loading.entry_points()):
            found, _, name = point.partition("_")
            if found == kind and (kind, name) not in ABSENT and _is_ours(point):
                yield kind, name


def _is_ours(point: str) -> bool:
    return any(entry.distribution == "phase-plasm" for entry in loading.entry_points()[point])


def _table(title: str, cls: type[Any], *, heading: str) -> str:
    """Return a class's fields as a table; one without fields has none."""
    lines = [heading.format(title)]
    for item in attrs.fields(cls):
        default = item.default.factory() if isinstance(item.default, attrs.Factory) else item.default
        lines.append(
            f"# {item.name}: none unless it is given"
            if default is None
            else f"#{item.name} = {_toml(default)}"
        )
    return "\n".join([*_comment(cls), *lines, ""]) if len(lines) > 1 else ""


def _comment(cls: type[Any]) -> Iterator[str]:
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        words = " ".join(re.sub(r"`+", "", paragraph).split())
        yield from textwrap.wrap(words, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    os.environ |= {
        "STATE_DIRECTORY": "/var/lib/plasm",
        "CACHE_DIRECTORY": "/var/cache/plasm",
    }  # as in the unit
    sys.stdout.write(render_defaults() if "--defaults" in sys.argv[1:] else render())
