"""Scripts that are submitted to a daemon: the interpreter's module, the script's files, and the receipt of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from plasm_core.testing.bench import MODULES
from tests.support.daemon import Daemon

MODULE = MODULES / "script.wasm"


def test_a_script_is_submitted_with_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "hello.say"
    script.write_text("words of the script\n")
    digest = hashlib.sha256(MODULE.read_bytes()).hexdigest()
    config = tmp_path / "scripts.toml"
    config.write_text(
        f"[interpreters.say]\nmodule = {json.dumps(str(MODULE))}\nsha256 = '{digest}'\nargs = ['-q']\n"
    )
    with Daemon(tmp_path, "--set", "storage.spare_bytes=0") as daemon:
        daemon.start()
        handle = tmp_path / "handle"
        submitted = daemon.plasm("submit", "--config", str(config), str(script), "one")
        handle.write_bytes(submitted.stdout)
        receipt = tmp_path / "receipt.json"
        done = daemon.plasm("result", f"@{handle}", "--receipt", str(receipt))

        assert done.stdout == b"main\0-q\0/hello.say\0one\0words of the script\n"
        asked = ["--config", str(config), "--module", str(script), "--arg", "one"]
        assert daemon.plasm("verify", str(receipt), *asked, "--reexecute").returncode == 0


def test_a_file_that_is_no_module_and_has_no_interpreter_is_refused_with_the_cure(tmp_path: Path) -> None:
    script = tmp_path / "hello.say"
    script.write_text("words")
    with Daemon(tmp_path) as daemon:
        daemon.start()
        refused = daemon.plasm("submit", str(script), check=False)

    assert refused.returncode != 0
    assert b"name its interpreter in [interpreters.say] of the configuration" in refused.stderr
