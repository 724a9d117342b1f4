"""`python -m docs.generate`: write every page that comes out of code, and the picture if it is of another source."""

from __future__ import annotations

from docs.generate import DOCS, diagram
from docs.generate.pages import PAGES


def main() -> None:
    """Write them into docs/."""
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
    if not diagram.is_current():
        diagram.write()


if __name__ == "__main__":
    main()
