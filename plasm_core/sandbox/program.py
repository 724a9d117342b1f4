"""An admitted module: its description and the artefact that an engine compiled of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from plasm_core.plugins.interfaces import (
        Runtime,  # it imports trio, which the children of admission must not load
    )

MAX_PAGES = 65_536
"""The most pages of 64 KiB that a memory with addresses of 32 bits can have."""


@attrs.frozen(kw_only=True)
class ModuleInfo:
    """The description of a module. Memory in pages of 64 KiB; imports and exports as `kind name`.

    `memory_grows`: whether reachable code grows the memory. `entries`: the exported functions that a job can name as
    its entry. `start_is_empty`: whether `_start` does nothing.
    """

    size_bytes: int
    imports: list[str]
    exports: list[str]
    memory_min_pages: int
    memory_max_pages: int | None
    tables: int
    functions: int
    features: list[str]
    has_start: bool
    memory_grows: bool = False
    entries: list[str] = attrs.field(factory=list)
    start_is_empty: bool = False

    def memory_reach_pages(self, limit_pages: int) -> int:
        """Return the most pages that the memory can reach under a limit."""
        if not self.memory_grows:
            return self.memory_min_pages
        return min(limit_pages, MAX_PAGES if self.memory_max_pages is None else self.memory_max_pages)


@attrs.define
class Program:
    """An admitted module: its description, and the descriptor of the artefact for one runtime.

    `entry`: the export that the artefact calls in place of `_start`, None for `_start`.
    """

    digest: str
    info: ModuleInfo
    runtime: Runtime
    artefact_fd: int
    entry: str | None = None

    def close(self) -> None:
        """Close the artefact."""
        if self.artefact_fd >= 0:
            os.close(self.artefact_fd)
            self.artefact_fd = -1

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
