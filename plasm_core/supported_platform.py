"""Which systems Plasm runs on. Nothing else is imported before it is known that this one is among them."""

from __future__ import annotations

import sys

UNSUPPORTED = (
    "Plasm does not run on Windows: install it in the Windows Subsystem for Linux (wsl --install), as on Linux"
    if sys.platform == "win32"
    else None
)
"""Why Plasm cannot run on this system, None if it can."""


def refuse_unsupported() -> None:
    """Exit with code 1 and the reason if Plasm cannot run on this system."""
    if UNSUPPORTED is not None:
        sys.exit(f"error: {UNSUPPORTED}")
