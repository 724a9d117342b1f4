"""The core of Plasm: it imports no plugin, no engine and no libp2p.

Importing it is cheap, since sandboxed workers do so too: its names are loaded when first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost every worker

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from typing import Any

    from plasm_core.client import AsyncClient, Client, JobResult, Submission, open_client
    from plasm_core.hookspecs import hookimpl

__all__ = [
    "AsyncClient",
    "Client",
    "JobResult",
    "Submission",
    "__version__",
    "hookimpl",
    "open_client",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("plasm_core.hookspecs" if name == "hookimpl" else "plasm_core.client"), name)
