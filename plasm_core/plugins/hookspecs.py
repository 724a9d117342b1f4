"""The hooks a plugin module may implement, one a kind, each returning component classes.

A whole plugin, the module `plasm_verifier_never`:

    from plasm_core import hookimpl
    from plasm_core.plugins.interfaces import Verifier

    class Never(Verifier):
        name = "never"

        def judge(self, claims):
            return self.reject("never")

    @hookimpl
    def plasm_verifier():
        return [Never]

with, in its pyproject.toml:

    [project.entry-points.plasm]
    verifier_never = "plasm_verifier_never"
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from plasm_core.plugins.interfaces import Discovery, Runtime, Signer, Transport, Validator, Verifier

PROJECT = "plasm"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def plasm_validator() -> Sequence[type[Validator]]:  # type: ignore[empty-body]
    """Return classes that validate modules."""


@hookspec
def plasm_runtime() -> Sequence[type[Runtime]]:  # type: ignore[empty-body]
    """Return classes that run modules."""


@hookspec
def plasm_signer() -> Sequence[type[Signer]]:  # type: ignore[empty-body]
    """Return classes that sign receipts."""


@hookspec
def plasm_verifier() -> Sequence[type[Verifier]]:  # type: ignore[empty-body]
    """Return classes that judge receipts."""


@hookspec
def plasm_transport() -> Sequence[type[Transport]]:  # type: ignore[empty-body]
    """Return classes that carry byte streams."""


@hookspec
def plasm_discovery() -> Sequence[type[Discovery]]:  # type: ignore[empty-body]
    """Return classes that find nodes."""
