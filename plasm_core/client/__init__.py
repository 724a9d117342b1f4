"""Handing jobs to nodes and taking their verified results.

Its names are loaded when first used: `plasm run` on this machine needs none of the clients that use a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plasm_core.client.async_client import AsyncClient
    from plasm_core.client.client import Client
    from plasm_core.client.executor import PlasmExecutor
    from plasm_core.client.opening import open_client
    from plasm_core.client.receipt_verification import verify
    from plasm_core.client.result import JobResult
    from plasm_core.client.submission import Submission

_PLACES = {
    "AsyncClient": "plasm_core.client.async_client",
    "Client": "plasm_core.client.client",
    "PlasmExecutor": "plasm_core.client.executor",
    "JobResult": "plasm_core.client.result",
    "Submission": "plasm_core.client.submission",
    "open_client": "plasm_core.client.opening",
    "verify": "plasm_core.client.receipt_verification",
}

__all__ = ["AsyncClient", "Client", "JobResult", "PlasmExecutor", "Submission", "open_client", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
