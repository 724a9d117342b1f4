"""The child that looks at a module first: validates it, applies the rules, meters it.

The order is what keeps metering honest: the *original* bytes are validated before they are rewritten.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.records.converter import encode_json
from plasm_core.sandbox import entry
from plasm_core.sandbox.confine import limit_resources, lock_down
from plasm_core.sandbox.descriptor import read_all, write_all
from plasm_core.sandbox.metering import MAX_PAGES, meter_module
from plasm_core.sandbox.module import Module
from plasm_core.sandbox.rules import shown_name, violations
from plasm_core.sandbox.sections import check_preamble, read_module

MAX_LISTED = 500
MAX_PROBLEMS = 50


@attrs.frozen(kw_only=True)
class ModuleInfo:
    """What admission learns of a module. Memory in pages of 64 KiB; imports and exports as `kind name`.

    `memory_grows`: whether code that can be reached grows the memory.
    """

    size_bytes: int
    imports: list[str]
    exports: list[str]
    memory_min_pages: int
    memory_max_pages: int | None
    tables: int
    functions: int
    features: list[str]
    has_start: bool
    memory_grows: bool = False

    def memory_reach_pages(self, limit_pages: int) -> int:
        """Return the most pages the memory can come to under a limit."""
        if not self.memory_grows:
            return self.memory_min_pages
        return min(limit_pages, MAX_PAGES if self.memory_max_pages is None else self.memory_max_pages)


def describe(module: Module) -> ModuleInfo:
    """Say what a module is."""
    memory = module.memories[0] if module.memories else None
    imports = (f"{item.kind} {item.module}.{item.name}" for item in module.imports)
    exports = (f"{item.kind} {item.name}" for item in module.exports)
    return ModuleInfo(
        size_bytes=len(module.data),
        imports=_listed(imports, len(module.imports)),
        exports=_listed(exports, len(module.exports)),
        memory_min_pages=memory.minimum if memory else 0,
        memory_max_pages=memory.maximum if memory else None,
        tables=len(module.tables),
        functions=len(module.functions),
        features=sorted(module.features),
        has_start=module.start is not None,
        memory_grows=module.memory_grows,
    )


def _listed(names: Iterator[str], count: int) -> list[str]:
    """Return the first names, cut short, and how many more there are: a module may have millions."""
    listed = [shown_name(name) for name in itertools.islice(names, MAX_LISTED)]
    return listed if count <= MAX_LISTED else [*listed, f"… and {count - MAX_LISTED} more"]


@attrs.frozen(kw_only=True)
class Problem:
    """Why a module is refused, as `BadModuleError` takes it."""

    reason: str
    message: str
    hint: str | None = None


@attrs.frozen(kw_only=True)
class Preparation:
    """What came of looking at a module. It may run only if there is no problem."""

    info: ModuleInfo | None
    problems: list[Problem]

    def checked(self) -> ModuleInfo:
        """Return the description. Raises: `BadModuleError`, the first problem."""
        if self.problems or self.info is None:
            raise BadModuleError(**attrs.asdict(self.problems[0]))
        return self.info


def prepare(
    data: bytes, validate: Callable[[bytes], None], *, canonical_nans: bool = False, trap_checks: bool = False
) -> tuple[Preparation, bytes]:
    """Validate, describe, check and meter a module. Return the metered code, empty if there is a problem."""
    try:
        check_preamble(data)
        validate(data)
    except ValueError as exc:
        problem = Problem(reason="invalid", message=f"the module is not valid: {' '.join(str(exc).split())}")
        return Preparation(info=None, problems=[problem]), b""
    except BadModuleError as exc:
        return Preparation(info=None, problems=[_problem(exc)]), b""
    try:
        module = read_module(data)
    except BadModuleError as exc:
        return Preparation(info=None, problems=[_problem(exc)]), b""
    problems = [_problem(violation) for violation in itertools.islice(violations(module), MAX_PROBLEMS)]
    code = b""
    try:
        code = meter_module(module, canonical_nans=canonical_nans, trap_checks=trap_checks)
    except BadModuleError as exc:
        if exc.reason not in {problem.reason for problem in problems}:
            problems.append(_problem(exc))
    return Preparation(info=describe(module), problems=problems), b"" if problems else code


def _problem(exc: BadModuleError) -> Problem:
    return Problem(reason=exc.reason, message=str(exc), hint=exc.hint)


def main(spec: dict[str, Any]) -> None:
    """Prepare the module in `module_fd` into `out_fd`; write a `Preparation` to stdout."""
    validator = entry.make(spec["entry"], spec["options"])
    limit_resources(cpu_s=spec["cpu_s"], memory_bytes=spec["memory_bytes"])
    lock_down(spec["confinement"])
    preparation, code = prepare(
        read_all(spec["module_fd"]),
        validator.validate,
        canonical_nans=spec["canonical_nans"],
        trap_checks=spec["trap_checks"],
    )
    write_all(spec["out_fd"], code)
    write_all(sys.stdout.fileno(), encode_json(preparation))
