"""The callback that tells a client's caller what the client is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from plasm_core.protocol.messages import Status

Watcher = Callable[[str, Optional["Status"]], None]
"""Told what happens: a phase (`uploading`, `checking`, …) or a state, with the status where there is one."""


def silent(_phase: str, _status: Status | None) -> None:
    """Ignore all phases and states."""
