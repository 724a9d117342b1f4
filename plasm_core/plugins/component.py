"""What every plugin class has: a kind, a name, a check of its libraries."""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC
from typing import ClassVar

from plasm_core.errors import PluginMissingError


class Component(ABC):
    """The base class of all plugin components: name, kind and configuration."""

    kind: ClassVar[str]
    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    """Import names of the libraries it needs."""
    install: ClassVar[str | None] = None
    """The command that installs them."""
    newest_python: ClassVar[tuple[int, int] | None] = None
    """The newest Python that they can be installed for, None if there is no limit."""

    def check(self) -> None:
        """Raise `PluginMissingError` if something that the component needs is not installed."""
        for library in self.requires:
            if not _is_installed(library):
                if self.newest_python is not None and sys.version_info[:2] > self.newest_python:
                    raise _too_new(self, library, self.newest_python)
                raise PluginMissingError(
                    f"the {self.kind} {self.name} needs the library {library}, which is not installed",
                    hint=f"install it with: {self.install}" if self.install else None,
                )


def _too_new(component: Component, library: str, newest: tuple[int, int]) -> PluginMissingError:
    python = "{}.{}".format(*newest)
    return PluginMissingError(
        f"the {component.kind} {component.name} needs the library {library}, "
        f"which cannot be installed for Python {sys.version_info[0]}.{sys.version_info[1]}",
        hint=f"install Plasm with Python {python} or older, as in: pipx install --python python{python} …",
    )


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False
