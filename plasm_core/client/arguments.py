"""Check the types of the clients' arguments before anything is sent.

Otherwise an empty or wrong value would be taken for none, or would fail only after a node has accepted the job.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from plasm_core.client.output import Sink
from plasm_core.config import Config
from plasm_core.records import Handle

_OF_A_SINK = ("write", "restart", "settle")


def check_options(
    *,
    config: Any,
    transport: Any,
    peer: Any,
    bootstrap: Any,
    verifier: Any,
    node_class: Any,
    gateway: Any,
    require: Any,
    reuse: Any,
) -> None:
    """Check the types of a client's options. Raises: TypeError."""
    _expect("config", config, Config, str, os.PathLike, type(None))
    _expect("transport", transport, str, type(None))
    _expect("peer", peer, str, type(None))
    for name, value in (("bootstrap", bootstrap), ("verifier", verifier)):
        _expect(name, value, str, list, tuple)
        for item in () if isinstance(value, str) else value:
            _expect(name, item, str)
    _expect("node_class", node_class, str)
    _expect("gateway", gateway, bool)
    _expect("require", require, str, type(None))
    _expect("reuse", reuse, bool, type(None))


def check_callbacks(*, sink: Sink | None = None, **callbacks: Callable[..., object]) -> None:
    """Check that the callbacks are callable, before the job is sent. Raises: TypeError."""
    for name, callback in callbacks.items():
        if not callable(callback):
            raise TypeError(f"{name}: expected something to call, got {type(callback).__name__}")
    if sink is not None and not all(callable(getattr(sink, name, None)) for name in _OF_A_SINK):
        raise TypeError(f"sink: expected a Sink, got {type(sink).__name__}")


def handle_of(handle: Handle | str) -> Handle:
    """Return the handle, parsed if it is given as text. Raises: TypeError, `InvalidRecordError`."""
    _expect("handle", handle, Handle, str)
    return Handle.parse(handle.strip()) if isinstance(handle, str) else handle


def _expect(name: str, value: object, *kinds: type) -> None:
    if not isinstance(value, kinds):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")
