"""The child that looks at a module first: validates it, applies the rules, meters it.

The order is what keeps metering honest: the *original* bytes are validated before they are rewritten.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Set
from typing import Any

from plasm_core.errors import BadModuleError
from plasm_core.plugins.engine import Instance
from plasm_core.records.converter import encode_json
from plasm_core.sandbox.admission.compiler_flags import advice_against
from plasm_core.sandbox.admission.compilers import named_compilers
from plasm_core.sandbox.admission.entries import entries, start_is_empty
from plasm_core.sandbox.admission.fit import V2_FEATURES
from plasm_core.sandbox.admission.preparation import Preparation, Problem
from plasm_core.sandbox.admission.proposals import proposal_of
from plasm_core.sandbox.admission.rules import shown_name, violations
from plasm_core.sandbox.lowering.module import lower
from plasm_core.sandbox.metering.module import Module
from plasm_core.sandbox.metering.native_body import LEAST_MODULE_BYTES, native_code
from plasm_core.sandbox.metering.rewrite import meter_module
from plasm_core.sandbox.metering.sections import check_preamble, read_module
from plasm_core.sandbox.process import entry as component_entry
from plasm_core.sandbox.process.confinement import limit_resources, lock_down
from plasm_core.sandbox.process.descriptor import read_all, write_all
from plasm_core.sandbox.program import ModuleInfo

MAX_LISTED = 500
MAX_PROBLEMS = 50


def describe(module: Module) -> ModuleInfo:
    """Return a module's features, imports and sizes, as `plasm inspect` shows them."""
    memory = module.memories[0] if module.memories else None
    imports = (f"{item.kind} {item.module}.{item.name}" for item in module.imports)
    exports = (f"{item.kind} {item.name}" for item in module.exports)
    named = entries(module)
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
        entries=_listed(iter(named), len(named)),
        start_is_empty=start_is_empty(module),
    )


def _listed(names: Iterator[str], count: int) -> list[str]:
    """Return the first names, cut short, and how many more there are: a module may have millions."""
    listed = [shown_name(name) for name in itertools.islice(names, MAX_LISTED)]
    return listed if count <= MAX_LISTED else [*listed, f"… and {count - MAX_LISTED} more"]


def prepare(
    data: bytes,
    validate: Callable[[bytes], None],
    *,
    canonical_nans: bool = False,
    trap_checks: bool = False,
    lowered: Set[str] = frozenset(),
    entry: str | None = None,
    native: Instance | None = None,
) -> tuple[Preparation, bytes]:
    """Validate, describe, check and meter a module. Return the metered code, empty if there is a problem.

    `lowered`: the features that the metered code must do without. `entry`: the export to call in place of `_start`.
    `native`: an instance of `native_code`, to be faster.
    """
    try:
        check_preamble(data)
        validate(data)
    except ValueError as exc:
        return Preparation(info=None, problems=[_invalid(" ".join(str(exc).split()), data)]), b""
    except BadModuleError as exc:
        return Preparation(info=None, problems=[_problem(exc)]), b""
    try:
        module = read_module(data)
    except BadModuleError as exc:
        return Preparation(info=None, problems=[_problem(exc)]), b""
    problems = [
        _problem(violation) for violation in itertools.islice(violations(module, entry), MAX_PROBLEMS)
    ]
    code = b""
    try:
        code = meter_module(
            module,
            canonical_nans=canonical_nans,
            trap_checks=trap_checks,
            entry=None if problems else entry,
            native=native,
        )
        if not V2_FEATURES & module.features:  # an engine that has these features needs no lowering
            code = lower(code, module.features, lowered)
    except BadModuleError as exc:
        if exc.reason not in {problem.reason for problem in problems}:
            problems.append(_problem(exc))
    return Preparation(info=describe(module), problems=problems), b"" if problems else code


def _invalid(words: str, data: bytes) -> Problem:
    """Return the problem for a validator's message about a module."""
    proposal = proposal_of(words)
    if proposal is None:
        return Problem(reason="invalid", message=f"the module is not valid: {words}")
    advice = advice_against([proposal.feature], named_compilers(data))
    return Problem(
        reason="feature",
        message=f"the module uses {proposal.words}: no engine may run that here",
        hint=None if advice is None else f"build it with {advice}",
    )


def _problem(exc: BadModuleError) -> Problem:
    return Problem(reason=exc.reason, message=str(exc), hint=exc.hint)


def main(spec: dict[str, Any]) -> None:
    """Prepare the module in `module_fd` into `out_fd`; write a `Preparation` to stdout."""
    validator = component_entry.make(spec["entry"], spec["options"])
    native = None
    if os.fstat(spec["module_fd"]).st_size >= LEAST_MODULE_BYTES and hasattr(validator, "instantiate"):
        native = validator.instantiate(native_code())  # our own code, before any code of a guest is read
    limit_resources(cpu_s=spec["cpu_s"], memory_bytes=spec["memory_bytes"])
    lock_down(spec["confinement"])
    preparation, code = prepare(
        read_all(spec["module_fd"]),
        validator.validate,
        canonical_nans=spec["canonical_nans"],
        trap_checks=spec["trap_checks"],
        lowered=frozenset(spec["lowered"]),
        entry=spec["main"],
        native=native,
    )
    write_all(spec["out_fd"], code)
    write_all(sys.stdout.fileno(), encode_json(preparation))
