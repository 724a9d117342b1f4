"""The pages that come out of code, by their place in docs/."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generate import commands, configuration, python_api, records, terminal
from plasm_core.web import api_document

PAGES: Mapping[str, Callable[[], str]] = {
    "openapi.json": api_document.encoded,
    "reference/commands.md": commands.render,
    "reference/configuration.md": configuration.render,
    "reference/manifest.md": records.render_manifest,
    "reference/python.md": python_api.render,
    "reference/receipt.md": records.render_receipt,
    "terminal.svg": terminal.render,
}
