"""Make distributions with plugins, as pip would install them: a module and a .dist-info beside it."""

import importlib
import sys
from pathlib import Path
from textwrap import dedent

VERIFIER = """
import attrs
from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Decision, Opinion

@attrs.frozen(kw_only=True)
class {cls}(Verifier):
    name = "{name}"
    {fields}

    def {method}(self, claims):
        return Opinion(verifier=self.name, decision=Decision.ACCEPT, established=("{name}",))

@hookimpl
def plasm_verifier():
    return [{cls}]
"""


class Site:
    """A directory on the import path that distributions can be put into."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modules: set[str] = set()

    def install(
        self, distribution: str, *, source: str = "", entry_points: dict[str, str], version: str = "1.2.3"
    ) -> None:
        """Install a distribution; its module has the distribution's name, with underscores."""
        module = distribution.replace("-", "_")
        (self.directory / f"{module}.py").write_text(dedent(source))
        info = self.directory / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("[plasm]\n" + "\n".join(lines) + "\n")
        self.modules.add(module)
        importlib.invalidate_caches()  # metadata is remembered by the directory's time of change

    def verifier(self, distribution: str, name: str, *, source: str | None = None) -> None:
        """Install a distribution with one verifier, by default one that accepts all."""
        self.install(
            distribution,
            source=verifier(name) if source is None else source,
            entry_points={f"verifier_{name}": distribution.replace("-", "_")},
        )

    def imported(self) -> set[str]:
        """Return the distributions' modules that have been imported."""
        return self.modules & set(sys.modules)

    def forget(self) -> None:
        """Take the modules out of the interpreter again."""
        for module in self.imported():
            del sys.modules[module]


def verifier(name: str, *, fields: str = "", method: str = "judge") -> str:
    """Return the source of a plugin with a verifier that accepts all."""
    return VERIFIER.format(name=name, cls=name.title(), fields=fields, method=method)
