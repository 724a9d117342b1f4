"""Check the types of the clients' arguments before anything is sent.

Otherwise an empty or wrong value would be taken for none, or would fail only after a node has accepted the job.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from plasm_core.client.output import Sink
from plasm_core.config import Config
from plasm_core.records import Handle

AHEAD = 256
"""How many jobs of a map may be further than the result that the caller waits for."""
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


def check_timeout(timeout_s: float | None) -> None:
    """Check the seconds that a call may take. Raises: TypeError; ValueError for what is no number."""
    if timeout_s is None:
        return
    # Real: numbers of NumPy, as a table of jobs has them, are neither int nor float.
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, numbers.Real):
        raise TypeError(f"timeout_s: expected int or float or None, got {type(timeout_s).__name__}")
    if math.isnan(timeout_s):
        raise ValueError("timeout_s: expected seconds, got nan")


def check_map(inputs: object, *, ordered: object, in_flight: object, ahead: object, timeout_s: Any) -> None:
    """Check the types of what `map` takes beside terms. Raises: TypeError, ValueError.

    A text has characters, and bytes have numbers: none of them is an input.
    """
    if isinstance(inputs, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)) or not isinstance(
        inputs, Iterable
    ):
        raise TypeError(f"inputs: expected a list or another iterable, got {type(inputs).__name__}")
    _expect("ordered", ordered, bool)
    for name, number in (("in_flight", in_flight), ("ahead", ahead)):
        if number is None and name == "in_flight":
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name}: expected int, got {type(number).__name__}")
        if number < 1:
            raise ValueError(f"{name}: expected a number greater than 0, got {number}")
    check_timeout(timeout_s)


def handle_of(handle: Handle | str) -> Handle:
    """Return the handle, parsed if it is given as text. Raises: TypeError, `InvalidRecordError`."""
    _expect("handle", handle, Handle, str)
    return Handle.parse(handle.strip()) if isinstance(handle, str) else handle


def _expect(name: str, value: object, *kinds: type) -> None:
    if not isinstance(value, kinds):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")
