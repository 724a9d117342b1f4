"""Settings from environment variables, PLASM_SECTION_KEY."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from plasm_core import toml_text
from plasm_core.config_origins import meant
from plasm_core.errors import ConfigError
from plasm_core.records.fields import (
    WrittenInteger,
)

_OTHER_VARIABLES = frozenset({"PLASM_CONFIG", "PLASM_SOCKET"})


_SERVICE = re.compile(
    r"PLASM(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_[A-Z]+(_[A-Z]+)?)"
)


_SERVICE_PORT = re.compile(r"PLASM(_[A-Z0-9_]+)?_PORT")


def settings_of(
    environ: Mapping[str, str], *, choices: Collection[str], sections: Collection[str]
) -> list[tuple[str, list[str], Any]]:
    """Return the settings of the environment: each variable with the path of its setting and its value.

    PLASM_RUNTIME is plasm.runtime, PLASM_ADMISSION__CPU_S is admission.cpu_s. `choices`: the settings of the section
    `plasm`; `sections`: the names of all sections. Raises: `ConfigError`.
    """
    found: list[tuple[str, list[str], Any]] = []
    for variable in sorted(environ):
        if not variable.startswith("PLASM_") or _is_of_a_service(variable, environ[variable], sections):
            continue
        if variable.startswith("PLASM_TEST_"):  # of script/test
            continue
        if not environ[variable].strip():
            raise ConfigError(
                f"the environment variable {variable} is empty", hint="give it a value, or unset it"
            )
        if variable in _OTHER_VARIABLES:
            continue
        path = variable.removeprefix("PLASM_").lower().split("__")
        if len(path) == 1 and path[0] in choices:
            path = ["plasm", path[0]]
        if len(path) < 2:
            known = [*(f"PLASM_{name.upper()}" for name in choices), *_OTHER_VARIABLES]
            raise ConfigError(f"unknown environment variable {variable}{meant(variable, known)}")
        value: Any = environ[variable]
        found.append((variable, path, value if path[0] == "plasm" else scalar(value)))
    return found


def _is_of_a_service(variable: str, value: str, sections: Collection[str]) -> bool:
    """Return whether Kubernetes set a variable because the pod sees a service called plasm, or plasm-something.

    A setting has two underscores after its section; such a variable has them only if the service is named like a
    section: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    section, underscores, _ = variable.removeprefix("PLASM_").partition("__")
    if underscores and section.lower() in sections:
        return False
    if _SERVICE.fullmatch(variable):
        return True
    return _SERVICE_PORT.fullmatch(variable) is not None and re.match(r"(tcp|udp|sctp)://", value) is not None


def scalar(text: str) -> Any:
    """Read a value as TOML would, else as a string."""
    try:
        found = toml_text.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if len(found) != 1:  # a line end would add other keys
        return text
    value = found["value"]
    return WrittenInteger.read(text.strip(), value) if type(value) is int else value


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set the value at a path of a tree of tables. Raises: `ConfigError` if a part of the path is no table."""
    table = tree
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{'.'.join(path)}: {name} is no table")
    table[path[-1]] = value
