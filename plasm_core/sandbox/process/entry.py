"""How a child process finds the class that a component names. Light: every worker imports it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from typing import Any


def make(entry: str, options: dict[str, Any]) -> Any:
    """Import the class that `entry` names, `package.module:Class`, and call it with `options` as keywords."""
    module, _, name = entry.partition(":")
    __import__(module)
    return getattr(sys.modules[module], name)(**options)
