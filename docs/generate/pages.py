"""The pages that come out of code, by their place in docs/."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generate import commands, configuration, records

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands.render,
    "reference/configuration.md": configuration.render,
    "reference/manifest.md": records.render_manifest,
    "reference/receipt.md": records.render_receipt,
}
