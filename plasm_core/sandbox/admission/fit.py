"""Whether a runtime can run a module under a job's limits: by the features that it has, and the memory it starts with."""

from __future__ import annotations

from plasm_core.errors import RefusedError
from plasm_core.plugins.engine import PAGE_BYTES
from plasm_core.plugins.interfaces import Runtime
from plasm_core.quantities import bytes_text
from plasm_core.records.manifest import PROFILE, PROFILE_V2, Limits
from plasm_core.sandbox.admission.compiler_flags import advice_against
from plasm_core.sandbox.program import ModuleInfo

V2_FEATURES = frozenset({"exceptions", "tail-calls"})
"""Features of modules that the first profile does not have."""
_MEMORY_FEATURES = {"large-memory": 32_768, "whole-memory": 65_535}
"""Feature → the most pages a memory may come to without it. wasm3 grows to 2 GiB, wasmer to all but the last page."""


def lacking(info: ModuleInfo, runtime: Runtime) -> list[str]:
    """Return the features of a module that a runtime lacks under any limits, sorted."""
    return sorted(set(info.features) - runtime.features)


def check_fit(info: ModuleInfo, runtime: Runtime, limits: Limits, profile: str = PROFILE) -> None:
    """Refuse a module with features that the profile or the runtime lacks, or whose initial memory exceeds the limit.

    Raises: `RefusedError`.
    """
    newer = sorted(V2_FEATURES.intersection(info.features))
    if newer and profile == PROFILE:
        raise RefusedError(
            "profile",
            f"the profile {profile} has no {' and no '.join(newer).replace('-', ' ')}, which the module uses",
            hint=f"submit the job with --profile {PROFILE_V2}, or build it without: {advice_against(newer)}",
        )
    reach_pages = info.memory_reach_pages(limits.memory_bytes // PAGE_BYTES)
    beyond = {feature: pages for feature, pages in _MEMORY_FEATURES.items() if reach_pages > pages}
    needed = {*info.features, *beyond}
    missing = sorted(needed - runtime.features)
    if missing:
        raise RefusedError(
            "unsupported_feature",
            f"the runtime {runtime.name} cannot run a module that uses {', '.join(missing)}",
            hint=_hint(info, missing, {pages for feature, pages in beyond.items() if feature in missing}),
        )
    least = info.memory_min_pages * PAGE_BYTES
    if least > limits.memory_bytes:
        raise RefusedError(
            "memory_limit",
            f"the module starts with {bytes_text(least)} of memory, more than the limit of "
            f"{bytes_text(limits.memory_bytes)}",
            hint=f"--limit memory={bytes_text(least)} is the least that it runs with",
        )


def _hint(info: ModuleInfo, missing: list[str], too_many_pages: set[int]) -> str:
    """Return the hint for a refused module. `too_many_pages`: its greatest memory exceeds the runtime's."""
    hint = "choose another runtime with --runtime"
    least = min(too_many_pages, default=0)
    if least > info.memory_min_pages:
        hint += f", or a lower limit with --limit memory={bytes_text(least * PAGE_BYTES)}"
    flags = advice_against(missing)
    return hint if flags is None else f"{hint}, or build it without the feature: {flags}"
