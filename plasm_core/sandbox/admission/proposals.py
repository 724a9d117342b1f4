"""Names the WebAssembly proposal for which a validator did not accept a module."""

from __future__ import annotations

import re

import attrs


@attrs.frozen(kw_only=True)
class Proposal:
    """A proposal that the profile leaves out: the feature's name in `compiler_flags`, and the words for a message."""

    feature: str
    words: str


_PROPOSALS = (
    # A pattern for those messages of wasmtime's validator that say that the proposal is disabled.
    (
        r"legacy_exceptions feature",
        "legacy-exceptions",
        "exceptions in the form before WebAssembly 3.0",
    ),
    (
        r"threads (must be|support is not) enabled",
        "threads",
        "threads, that is shared memory or atomic instructions",
    ),
    (r"memory64 must be enabled", "memory64", "memory64, memories or tables of 64-bit addresses"),
    (r"^multiple memories|multi-memory .*not enabled", "multi-memory", "multiple memories"),
    (r"relaxed SIMD support is not enabled", "relaxed-simd", "relaxed SIMD"),
    (
        r"without the gc feature|gc support is not enabled|`gc` proposal",
        "garbage-collection",
        "types of garbage collection (gc)",
    ),
    (r"function references required", "function-references", "typed function references"),
    (r"stack switching is disabled", "stack-switching", "stack switching"),
    (r"wide arithmetic support is not enabled", "wide-arithmetic", "wide arithmetic"),
    (r"custom page sizes .*(not|must be) enabled", "custom-page-sizes", "custom page sizes"),
)


def proposal_of(words: str) -> Proposal | None:
    """Return the proposal that a validator's words say is off, None if the module is not valid for another cause."""
    for pattern, feature, said in _PROPOSALS:
        if re.search(pattern, words):
            return Proposal(feature=feature, words=said)
    return None
