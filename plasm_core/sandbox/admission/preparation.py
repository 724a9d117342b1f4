"""What the child that validates a module reports of it: a description, or the problems."""

from __future__ import annotations

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.program import ModuleInfo


@attrs.frozen(kw_only=True)
class Problem:
    """The reason why a module is refused, with the fields of `BadModuleError`."""

    reason: str
    message: str
    hint: str | None = None


@attrs.frozen(kw_only=True)
class Preparation:
    """The result of validating a module: its description and its problems. It may run only if it has no problem."""

    info: ModuleInfo | None
    problems: list[Problem]

    def checked(self) -> ModuleInfo:
        """Return the description. Raises: `BadModuleError` for the first problem."""
        if self.problems or self.info is None:
            raise BadModuleError(**attrs.asdict(self.problems[0]))
        return self.info
