"""The site is built without a warning, whole, and asks nothing of anybody else's server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS
from tests.support.receipts import ROOT

pytest.importorskip("material", reason="mkdocs-material is not installed: script/docs installs it")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(made)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return made


def test_every_page_is_on_the_site(site: Path) -> None:
    names = [path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")]
    names = [re.sub(r"README\.html$", "index.html", name) for name in names]

    assert [
        name
        for name in [*names, "php.html", "typescript.html", "changelog.html"]
        if not (site / name).is_file()
    ] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = [
        (page.name, url)
        for page in site.rglob("*.html")
        for url in re.findall(
            r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=[\"']?(?:https?:)?//([^\"' >]+)", page.read_text()
        )
    ]

    assert loaded == []


def test_generators_are_not_on_the_site(site: Path) -> None:
    assert not (site / "generate").exists()


def test_code_in_a_line_shows_what_is_typed_and_breaks_only_at_seams(site: Path) -> None:
    """Tables need a | escaped, and browsers break a line behind the dashes of an option."""
    commands = (site / "reference" / "commands.html").read_text()

    assert "\\|" not in commands
    assert '<span class="whole">--grant</span> [clock.<wbr>real|<wbr>random.<wbr>real]' in commands
    assert "<code>policy.lend</code>" in (site / "operations.html").read_text()


def test_commands_are_distinguished_from_their_output(site: Path) -> None:
    """Copying a block leaves out prompts and output, by their CSS classes."""
    page = (site / "quickstart.html").read_text()

    assert '<span class="gp">$ </span>' in page
    assert '<span class="go">sdrow emos</span>' in page
    assert "[data-md-copying] .go" in (site / "site.css").read_text()
