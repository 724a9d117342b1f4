"""Names and numbers of what metering puts into a module, shared with the worker that reads it."""

from __future__ import annotations

GAS_GLOBAL = "plasm:gas"
PAGES_GLOBAL = "plasm:pages"
FAULT_GLOBAL = "plasm:fault"
START_EXPORT = "plasm:start"
RESERVED_PREFIX = "plasm:"

FAULT_STACK, FAULT_GROWTH = 1, 2
