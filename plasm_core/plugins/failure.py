"""Describe a plugin's exception and its place, for error messages."""

from __future__ import annotations

import importlib
import logging
import traceback
from pathlib import Path

import pluggy

log = logging.getLogger(__name__)

_NO_PLUGINS = (
    str(Path(__file__).parents[1]),
    str(Path(pluggy.__file__).parent),
    str(Path(importlib.__file__).parent),
    "<frozen ",
)
"""Where code lies that only calls a plugin."""


def failure_of(exc: Exception) -> str:
    """Return a plugin's exception and its place in the plugin, as text. The traceback is logged at debug level."""
    log.debug("a plugin failed", exc_info=exc)
    place = _place(exc)
    return f"{type(exc).__name__}: {exc}" + (f" ({place})" if place else "")


def _place(exc: Exception) -> str | None:
    """Return file and line of the last frame of a traceback that is no code of the core, nor what loads plugins."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return None  # its text already has the module and the line
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if frame.filename and not frame.filename.startswith(_NO_PLUGINS)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None
