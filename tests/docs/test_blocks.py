"""Every code block that can be run is run, as a reader of its page would; the others say why they are not."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from plasm_core import config
from tests.docs.pages import PAGES, Block, blocks
from tests.docs.reader import RUN, matches, parsed, read

ELSEWHERE = {
    "CONTRIBUTING.md": "builds, tests and packages the project itself",
    "docs/containers.md": "needs docker or podman: script/test-container runs it",
    "docs/install.md": "changes the system: script/test-deb and script/test-wheels do it in clean ones",
    "docs/two-machines.md": "needs two machines: script/test-two-machines boots them",
    "php/README.md": "php/tests/ReadmeTest.php runs it",
    "sdk/typescript/README.md": "tests/sdk/test_client.py runs it",
}
"""Pages whose blocks are run, where they can be, by something else."""
PLUGIN_PAGES = "docs/plugins/"
SOMEBODY = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
FORMS = frozenset({"", "text"})
"""Languages of blocks that show a form, and nothing to run."""
PYTHON_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="the pages show Python 3.11 and later")

ALL = [block for page in PAGES for block in blocks(page)]


def is_run(block: Block) -> bool:
    """Return whether a reader runs it."""
    if block.page in ELSEWHERE or "not run" in block.notes:
        return False
    if block.page.startswith(PLUGIN_PAGES) and block.language == "python":
        return False  # signatures and a template, which tests/plugins/test_plugin_docs.py holds to the code
    if "needs" in block.notes and importlib.util.find_spec(block.notes["needs"]) is None:
        return False
    return block.language in RUN or "file" in block.notes


def test_there_are_blocks_to_run() -> None:
    assert sum(map(is_run, ALL)) > 30


@PYTHON_311
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("page", sorted({block.page for block in ALL if is_run(block)}))
def test_a_page_does_what_it_says_when_it_is_pasted(page: str, tmp_path: Path) -> None:
    read([block for block in ALL if block.page == page and is_run(block)], tmp_path)


def test_every_block_is_run_or_says_why_not() -> None:
    checked = FORMS | RUN | {"toml", "json"}
    left = [
        block.place
        for block in ALL
        if (not is_run(block) and block.page not in ELSEWHERE and block.language not in checked)
        or len(block.notes.get("not run", "as good as it gets")) < 10
    ]

    assert left == []


def test_every_block_that_is_configuration_is_valid(tmp_path: Path) -> None:
    checked = 0
    for number, block in enumerate(ALL):
        if block.language == "toml" and "not run" not in block.notes and "[project" not in block.text:
            file = tmp_path / f"{number}.toml"
            file.write_text(block.text.replace("12D3KooW…", SOMEBODY))
            config.load(file=file, environ={})
            checked += 1

    assert checked >= 3


def test_every_block_of_json_is_json() -> None:
    found = [parsed(block) for block in ALL if block.language == "json" and "not run" not in block.notes]

    assert all(item is not None for item in found)


def test_output_is_compared_but_for_what_varies() -> None:
    """Otherwise the other tests here would prove nothing."""
    assert matches(
        "exited · 8 ms · wasmtime 1.2.3\nby 12D3KooW…", "exited · 151 ms · wasmtime 50.0.1\nby 12D3KooWabc"
    )
    assert matches("a\n…\nz", "a\nb\nc\nz")
    assert matches("state …", "state complete (exited)")
    assert matches("a", "compiling…\na")
    assert not matches("exited with code 0", "exited with code 1")
    assert not matches("a", "a\nb")
    assert not matches("a\nb", "a")
