"""Carries streams between a daemon and its clients over Unix sockets."""

from __future__ import annotations

from collections.abc import Sequence

from plasm_core.abc import Transport
from plasm_core.hookspecs import hookimpl
from plasm_transport_local.transport import LocalTransport


@hookimpl
def plasm_transport() -> Sequence[type[Transport]]:
    """Register the transport."""
    return [LocalTransport]
