"""Names and numbers of a metered module's exports, shared with the worker that reads them. It has no other exports."""

from __future__ import annotations

GAS_GLOBAL = "plasm:gas"
PAGES_GLOBAL = "plasm:pages"
FAULT_GLOBAL = "plasm:fault"
START_EXPORT = "plasm:start"
EXIT_GLOBAL = "plasm:exit"
"""The exit code of a module that was metered for an entry, when its `_start` has returned."""
START_FUNCTION, MEMORY_EXPORT = "_start", "memory"
RESERVED_PREFIX = "plasm:"
INITIALIZE_FUNCTION = "_initialize"

FAULT_STACK, FAULT_GROWTH, FAULT_NULL_CALL, FAULT_CONVERSION, FAULT_EXCEPTION = 1, 2, 3, 4, 5
