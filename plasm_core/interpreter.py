"""The modules that run scripts: `[interpreters.py]` in the configuration says what runs `*.py` (docs/scripts.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records.converter import structure
from plasm_core.records.fields import constrained, digest, names, text

_EXTENSION = re.compile(r"[a-z0-9_+-]{1,16}")
_PATH = r"(/|~/)[^\x00-\x1f\x7f]*"
Problem = tuple[str, str]


@attrs.frozen(kw_only=True)
class Interpreter:
    """An interpreter: the module that runs scripts with one extension.

    `module`: the path of the interpreter, which must have the digest `sha256`. `args` come before the script's path.
    `env`: NAME=VALUE. `dirs`: directories for each of its jobs, in the form of `--dir`.
    """

    module: str = constrained(text(pattern=_PATH, maximum=4096, expected="a path that begins with / or ~/"))
    sha256: str = constrained(digest())
    args: tuple[str, ...] = constrained(names(r"[^\x00]*", 4096, what="strings without NUL"), default=())
    env: tuple[str, ...] = constrained(names(r"[^\x00=]+=[^\x00]*", 4096, what="NAME=VALUE"), default=())
    dirs: tuple[str, ...] = constrained(names(_PATH, 4096), default=())


def read_interpreters(tables: Any) -> tuple[dict[str, Interpreter], list[Problem]]:
    """Return the interpreter of each extension, and the problems of the section."""
    if not isinstance(tables, Mapping) or not all(isinstance(item, Mapping) for item in tables.values()):
        return {}, [("interpreters", "expected a table for each extension, as in [interpreters.py]")]
    found: dict[str, Interpreter] = {}
    problems: list[Problem] = []
    for extension, table in tables.items():
        name = f"interpreters.{extension}"
        if _EXTENSION.fullmatch(extension) is None:
            problems.append((name, "expected an extension without its dot, as in [interpreters.py]"))
            continue
        try:
            found[extension] = structure(dict(table), Interpreter, record=name)
        except InvalidRecordError as exc:
            problems += [(f"{name}.{path}" if path else name, what) for path, what in exc.problems]
    return found, problems
