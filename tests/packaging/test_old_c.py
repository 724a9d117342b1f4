"""pywasm3 0.5 comes as C that gcc 14 refuses: the flag that makes it an older C stands wherever it is built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from plasm_core.plugins.loading import CATALOGUE
from plasm_runtime_wasm3.runtime import Wasm3Runtime

ROOT = Path(__file__).parents[2]
# As pywasm3's m3module.c: a constructor is declared with the type of its base, and returns its own.
SOURCE = "struct base; struct own { int x; };\nstruct base *make(struct own *self) { return self; }\n"
LIKE_GCC_14 = "-Werror=incompatible-pointer-types"


def flags() -> str:
    """Return the CFLAGS that the scripts set."""
    script = f'root={ROOT}; . {ROOT}/script/lib.sh; unset CFLAGS; allow_old_c; printf %s "$CFLAGS"'
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_the_flag_has_the_compiler_take_what_gcc_14_refuses(tmp_path: Path) -> None:
    (tmp_path / "old.c").write_text(SOURCE)

    def compile_with(*given: str) -> int:
        command = ["gcc", "-c", "-o", str(tmp_path / "old.o"), LIKE_GCC_14, *given, str(tmp_path / "old.c")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert compile_with() != 0
    assert compile_with(*flags().split()) == 0


def test_scripts_hints_and_pages_name_the_same_flag() -> None:
    command = f"CFLAGS={flags().strip()} pip install 'phase-plasm[wasm3]'"

    assert command == CATALOGUE["runtime_wasm3"] == Wasm3Runtime.install
    assert f"CFLAGS={flags().strip()}" in (ROOT / "docs" / "install.md").read_text()


def test_every_script_that_builds_wasm3_allows_it() -> None:
    building = [
        path for path in (ROOT / "script").iterdir() if re.search(r"[\[,]wasm3[\],]", path.read_text())
    ]

    assert {"test", "build-deb", "test-wheels"} <= {path.name for path in building}
    assert [path.name for path in building if "allow_old_c" not in path.read_text()] == []
