"""Random choices are the system's: a program that seeds `random` neither foresees ours nor is disturbed by them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_draws_from_the_generator_that_programs_share() -> None:
    files = [*ROOT.glob("plasm_core/**/*.py"), *ROOT.glob("plugins/*/plasm_*/**/*.py")]
    assert len(files) > 100

    drawing = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name == "random" for name in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "random"
            and any(name.name != "SystemRandom" for name in node.names)
        )
    }

    assert drawing == set()
