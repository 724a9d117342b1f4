"""`python -m docs.generate`: write every page that comes out of code, and the picture if it is of another source."""

from __future__ import annotations

import sys
from importlib import metadata

from docs.generate import DOCS, diagram
from docs.generate.pages import PAGES

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib


def check_installed() -> None:
    """Exit with a hint if the clone's plugins are not those that are installed: pages would lack them."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {
        item.name for item in metadata.distribution("phase-plasm").entry_points if item.group == "plasm"
    }
    missing = sorted(project["entry-points"]["plasm"].keys() - installed)
    if missing:
        sys.exit(
            f"not installed: {', '.join(missing)}. Install the clone once more:"
            " pip install --no-deps --no-build-isolation -e ."
        )


def main() -> None:
    """Write them into docs/."""
    check_installed()
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
    if not diagram.is_current():
        diagram.write()


if __name__ == "__main__":
    main()
