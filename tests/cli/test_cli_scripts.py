"""Run scripts with an interpreter of the configuration: its arguments and files, its digest, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plasm_core.testing.bench import MODULES
from tests.support.cli import CONFIGURATION, FAILURE, HELLO, OK, REJECTED, USAGE, Done

MODULE = MODULES / "script.wasm"
DIGEST = hashlib.sha256(MODULE.read_bytes()).hexdigest()
WORDS = b"main\0-q\0/hello.say\0one\0two words\0"


@pytest.fixture
def run(here: Callable[..., Done], tmp_path: Path) -> Callable[..., Done]:
    """Return a function that calls the command line with an interpreter for `.say`."""
    (tmp_path / "hello.say").write_text("words of the script\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "prelude").write_text("prelude")

    def call(*words: str, sha256: str = DIGEST, module: str = str(MODULE), **settings: Any) -> Done:
        table = {"module": module, "sha256": sha256, "args": ["-q"], "env": ["A=1"]}
        table |= {"dirs": [f"{tmp_path / 'lib'}:usr/lib"], **settings}
        config = tmp_path / "plasm.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        config.write_text("[interpreters.say]\n" + "\n".join(lines) + "\n")
        return here(words[0], "--config", str(config), *words[1:])

    return call


def test_a_script_is_run_by_its_interpreter_and_verified(run: Callable[..., Done], tmp_path: Path) -> None:
    script, receipt = str(tmp_path / "hello.say"), str(tmp_path / "r.json")
    done = run("run", script, "one", "two words", "--stdin", "/dev/null", "--receipt", receipt)

    assert (done.code, done.out) == (OK, WORDS + b"words of the script\n")
    asked = ["--module", script, "--arg", "one", "--arg", "two words", "--reexecute"]
    assert run("verify", receipt, *asked).code == OK
    Path(script).write_text("other words\n")
    assert run("verify", receipt, *asked).code == REJECTED


@pytest.mark.parametrize(
    ("option", "guest"),
    [("{}:src", "/src/hello.say"), ("{}:.", "/hello.say"), ("{}:a/b/", "/a/b/hello.say")],
)
def test_a_script_in_a_directory_of_the_job_runs_there(
    run: Callable[..., Done], tmp_path: Path, option: str, guest: str
) -> None:
    done = run(
        *("run", str(tmp_path / "hello.say"), "--dir", option.format(tmp_path), "--stdin", "/dev/null"),
        dirs=[],
    )

    assert (done.code, done.out) == (OK, f"main\0-q\0{guest}\0words of the script\n".encode())


def test_a_script_that_is_a_file_of_the_job_keeps_its_place(run: Callable[..., Done], tmp_path: Path) -> None:
    script = str(tmp_path / "hello.say")
    done = run("run", script, "--file", f"{script}:deep/name", "--stdin", "/dev/null")

    assert done.out == b"main\0-q\0/deep/name\0words of the script\n"


def test_an_interpreter_can_be_named(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no extension")
    done = run("run", "--interpreter", "say", str(tmp_path / "plain"), "--stdin", "/dev/null")

    assert done.out == b"main\0-q\0/plain\0no extension"
    unknown = run("run", "--interpreter", "py", str(tmp_path / "plain"))
    assert (unknown.code, "the configuration has say in [interpreters]" in unknown.err) == (USAGE, True)


def test_a_module_is_recognised_under_any_extension(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "hello2.say").write_bytes(Path(HELLO).read_bytes())

    assert run("run", str(tmp_path / "hello2.say"), "words", "--stdin", "/dev/null").out == b"sdrow\n"


def test_another_interpreter_than_the_one_meant_is_refused(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run("run", str(tmp_path / "hello.say"), sha256="00" * 32)

    assert done.code == FAILURE
    assert f"has another SHA-256 than interpreters.say.sha256 says: {DIGEST}" in done.err
    lost = run("run", str(tmp_path / "hello.say"), module="/nowhere/module.wasm")
    assert (lost.code, "cannot read the interpreter for .say" in lost.err) == (FAILURE, True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sha256": "12"}, "interpreters.say.sha256"),
        ({"module": "python.wasm"}, "interpreters.say.module: expected a path that begins with / or ~/"),
        ({"env": ["A"]}, "interpreters.say.env: expected a list of NAME=VALUE"),
        ({"colour": "red"}, "interpreters.say.colour: unknown"),
    ],
)
def test_errors_in_the_configuration_are_named(
    run: Callable[..., Done], tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    done = run("run", str(tmp_path / "hello.say"), **settings)

    assert (done.code, words in done.err) == (CONFIGURATION, True), done.err


def test_a_script_without_an_interpreter_gets_a_hint_about_interpreters(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text("print(1)\n")
    done = here("run", str(tmp_path / "main.py"), "--stdin", "/dev/null")

    assert done.code == FAILURE
    assert "[interpreters.py]" in done.err
