"""Carries streams between a daemon and its clients over Unix sockets."""

from __future__ import annotations

from collections.abc import Sequence

from plasm_core.plugins.hookspecs import hookimpl
from plasm_core.plugins.interfaces import Transport
from plasm_transport_local.transport import LocalTransport


@hookimpl
def plasm_transport() -> Sequence[type[Transport]]:
    """Register the transport."""
    return [LocalTransport]
