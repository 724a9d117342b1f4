"""Run modules with the real command, and check what a script can rely on: output, exit codes, JSON."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plasm_core.cli.exits import EPILOGUE
from tests.support.cli import (
    CONFIGURATION,
    FAILURE,
    HELLO,
    JOB_FAILED,
    OK,
    PLUGIN,
    REJECTED,
    UNDECIDED,
    USAGE,
    Done,
    Plasm,
    without_phases,
)
from tests.support.distributions import Site
from tests.support.wat import FOREVER, exiting, starting, writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "module.wasm"


def test_without_arguments_or_input_hello_greets_backwards(plasm: Plasm) -> None:
    done = plasm("run", HELLO)

    assert (done.code, done.out) == (OK, b"dlroW ,olleH\n")
    assert "✓ exited with code 0 · " in done.err
    assert "✓ receipt verified ✓ signed by 12D3KooW" in done.err


def test_arguments_reach_the_job(plasm: Plasm) -> None:
    assert plasm("run", HELLO, "some", "words").out == b"sdrow emos\n"
    assert plasm("run", HELLO, "--", "--help").out == b"pleh--\n"


def test_standard_input_reaches_the_job(plasm: Plasm, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes("αβγ".encode())

    assert plasm("run", HELLO, stdin="αβγ".encode()).out.strip() == "γβα".encode()
    assert plasm("run", HELLO, "--stdin", str(tmp_path / "in")).out.strip() == "γβα".encode()


def asked_and_result(file: Path) -> tuple[Any, Any, Any]:
    predicate = json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))["predicate"]
    return predicate["asked"], predicate["result"], predicate["node"]


def test_the_same_job_twice_gives_the_same_observables(plasm: Plasm, tmp_path: Path) -> None:
    """And two jobs: a nonce tells the submissions apart."""
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    first, second = (plasm("run", HELLO, "x y", "--receipt", str(file)) for file in files)
    (asked, result, node), (asked_again, result_again, node_again) = map(asked_and_result, files)

    assert first.out == second.out == b"y x\n"
    assert result == result_again
    assert int(result["gasUsed"]) > 1000
    assert asked.pop("jobId") != asked_again.pop("jobId")
    assert asked == asked_again
    assert node == node_again


def test_output_comes_out_untouched(plasm: Plasm, file: Path) -> None:
    data = bytes(range(256)) + b"\r\n\x1b[31m[red]:warning:\xff"
    file.write_bytes(writing(data))
    done = plasm("run", str(file))

    assert done.out == data
    assert "[31m" not in done.err


def test_the_jobs_stderr_is_ours_and_quiet_adds_nothing(plasm: Plasm, file: Path) -> None:
    file.write_bytes(writing(b"oops\n", stream=2))

    assert without_phases(plasm("run", str(file), "--quiet").err) == "oops\n"
    assert plasm("run", str(file), "-q").out == b""


@pytest.mark.parametrize(
    ("code", "options", "outcome"),
    [
        (exiting(3), (), "exited with code 3"),
        (starting("unreachable"), (), "trapped: unreachable"),
        (starting(FOREVER), ("--limit", "gas=1e6"), "out of gas"),
        (
            starting(FOREVER),
            ("--limit", "gas=9e15", "--limit", "wall=1s"),
            "timed out: after 1 s of wall time",
        ),
        (writing(b"x" * 100), ("--limit", "output=10"), "output limit"),
    ],
    ids=["exit", "trap", "gas", "wall", "output"],
)
def test_a_job_that_failed_says_how_and_has_a_receipt(
    plasm: Plasm,
    here: Callable[..., Done],
    file: Path,
    code: bytes,
    options: tuple[str, ...],
    outcome: str,
) -> None:
    file.write_bytes(code)
    receipt = file.with_suffix(".json")
    done = plasm("run", str(file), *options, "--receipt", str(receipt))

    assert done.code == JOB_FAILED
    assert f"✗ {outcome} · " in done.err
    verified = here("verify", str(receipt))
    assert verified.code == OK
    assert f"the job  {outcome}" in verified.out.decode()


def test_run_gives_one_json_document(plasm: Plasm, file: Path) -> None:
    file.write_bytes(writing(b"\xffout", then="unreachable"))
    done = plasm("run", str(file), "--json")
    found = json.loads(done.out)

    assert (done.code, without_phases(done.err)) == (JOB_FAILED, "")
    assert found["outcome"] == {"kind": "trapped", "code": None, "trap": "unreachable", "detail": None}
    assert found["state"] == "EXECUTOR_ERROR"
    assert base64.b64decode(found["stdoutBase64"]) == b"\xffout"
    assert found["runtime"]["name"] == "wasmtime"
    assert found["wallTimeMs"] >= 0
    assert found["stderrBase64"] == ""
    assert found["gasUsed"] > 1000
    assert found["verdict"]["decision"] == "accept"
    assert len(found["jobId"]) == len(found["taskDigest"]) == 64


def test_inspect_and_plugins_say_what_can_run_what(plasm: Plasm, here: Callable[..., Done]) -> None:
    assert b"wasmtime: can run it" in here("inspect", HELLO).out
    inspected = json.loads(plasm("inspect", HELLO, "--json").out)
    assert inspected["runtimes"]["wasmtime"] == "ok"
    assert inspected["problems"] == []

    listed = json.loads(plasm("plugins", "--json").out)
    states = {(item["kind"], item["name"]): item["state"] for item in listed}
    assert {states[name] for name in (("signer", "ed25519"), ("runtime", "wasmtime"))} == {"installed"}
    assert b"signature" in here("plugins").out


def test_a_capability_makes_the_job_irreproducible_and_the_receipt_says_so(
    plasm: Plasm, here: Callable[..., Done], tmp_path: Path
) -> None:
    receipt = tmp_path / "r.json"
    done = plasm("run", HELLO, "--grant", "clock.real", "--receipt", str(receipt))

    assert done.code == OK
    assert "not reproducible" in done.err
    assert here("verify", str(receipt)).code == OK
    assert "reproducible   no" in here("receipt", "show", str(receipt)).out.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--version",), OK, ""),
        (
            ("run", "missing.wasm"),
            FAILURE,
            "error: cannot read module missing.wasm: No such file or directory",
        ),
        (("fly",), USAGE, "No such command 'fly'"),
        (("run", HELLO, "--set", "x"), CONFIGURATION, "error: --set x: expected key=value"),
        (
            ("run", HELLO, "--runtime", "nosuch"),
            PLUGIN,
            "no installed distribution provides the runtime nosuch",
        ),
        (("run", HELLO, "--", "exits"), OK, "exited with code 0"),
        (("run", HELLO, "--limit", "gas=100"), JOB_FAILED, "✗ out of gas · 100 gas · "),
        (("verify", HELLO), REJECTED, ""),
        (("run", HELLO, "--verifier", ","), UNDECIDED, "? receipt undecided: no verifier was asked"),
    ],
)
def test_each_exit_code_has_its_meaning_and_its_message(
    plasm: Plasm, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = plasm(*arguments)

    assert done.code == code
    assert message in " ".join(done.err.split())


def test_a_wrong_variable_is_a_wrong_configuration(plasm: Plasm) -> None:
    done = plasm("run", HELLO, env={"PLASM_RUNTME": "x"})

    assert (done.code, done.err) == (
        CONFIGURATION,
        "error: unknown environment variable PLASM_RUNTME, did you mean PLASM_RUNTIME?\n",
    )


def test_a_missing_plugin_comes_with_a_hint(plasm: Plasm) -> None:
    done = plasm("run", HELLO, "--runtime", "nosuch")

    assert done.err.splitlines()[1].startswith("hint: installed: ")


def test_a_broken_plugin_is_listed_with_its_reason(plasm: Plasm, tmp_path: Path) -> None:
    Site(tmp_path).verifier("plasm-test-jury", "jury", source="import nothing_at_all")
    done = plasm("plugins", env={"PYTHONPATH": str(tmp_path)})

    assert done.code == PLUGIN
    (line,) = [line for line in done.out.decode().splitlines() if "jury" in line]
    assert line.startswith("✗")
    assert line.endswith(
        f"ModuleNotFoundError: No module named 'nothing_at_all' ({tmp_path}/plasm_test_jury.py:1)"
    )
    assert plasm("run", HELLO, env={"PYTHONPATH": str(tmp_path)}).code == OK


@pytest.mark.parametrize("path", [(), ("run",)], ids=["plasm", "plasm run"])
def test_the_help_comes_out_on_stdout(plasm: Plasm, path: tuple[str, ...]) -> None:
    done = plasm(*path, "--help")

    assert (done.code, done.err) == (OK, "")
    assert EPILOGUE in " ".join(done.out.decode().split())


@pytest.mark.parametrize("name", ["XDG_STATE_HOME", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_is_named(plasm: Plasm, name: str) -> None:
    done = plasm("run", HELLO, env={name: "/dev/null"})

    assert (done.code, done.out) == (FAILURE, b"")
    assert done.err.startswith("error: ")
    assert "/dev/null/plasm" in done.err
