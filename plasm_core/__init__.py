"""The core of Plasm: it imports no plugin, no engine and no libp2p.

Importing it is cheap, since sandboxed workers do so too: its names are loaded when first used.
"""

from __future__ import annotations

from plasm_core.version import __version__

TYPE_CHECKING = False  # importing typing would cost every worker

if TYPE_CHECKING:
    from typing import Any

    from plasm_core.client import (
        AsyncClient,
        Client,
        JobResult,
        PlasmExecutor,
        Submission,
        open_client,
        verify,
    )
    from plasm_core.plugins.hookspecs import hookimpl

__all__ = [
    "AsyncClient",
    "Client",
    "JobResult",
    "PlasmExecutor",
    "Submission",
    "__version__",
    "hookimpl",
    "open_client",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from plasm_core.supported_platform import UNSUPPORTED

    if UNSUPPORTED is not None:
        raise ImportError(UNSUPPORTED)

    return getattr(
        import_module("plasm_core.plugins.hookspecs" if name == "hookimpl" else "plasm_core.client"), name
    )
