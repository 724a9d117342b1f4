"""The TypeScript package, built once for all tests of it, with the libraries that script/test has installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sdk" / "typescript"
LIBRARIES = next(
    (
        place
        for place in (Path(sys.prefix) / "sdk" / "node_modules", PACKAGE / "node_modules")
        if place.is_dir()
    ),
    None,
)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The libraries that build and test the package."""
    if shutil.which("node") is None or LIBRARIES is None:
        pytest.skip(
            "there is no Node 20 with the libraries of sdk/typescript: script/test installs them where it can"
        )
    return LIBRARIES


@pytest.fixture(scope="session")
def built(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, compiled from its source."""
    target = tmp_path_factory.mktemp("sdk") / "dist"
    (target.parent / "node_modules").symlink_to(node_modules)
    (target.parent / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        ["node", str(PACKAGE / "build.mjs"), str(target)],
        env={**os.environ, "PLASM_NODE_MODULES": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target
