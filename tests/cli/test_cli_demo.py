"""Believe an installation by one command: the demo shows a job, judges its receipt, and leaves what to go on with."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.cli.demo import MODULE
from tests.support.cli import FAILURE, HELLO, OK, REJECTED, Plasm
from tests.support.receipts import ROOT

SHIPPED = ROOT / "plasm_core" / "cli" / MODULE
TOOLCHAIN = {"clang-16": "1:16.0.6", "lld-16": "1:16.0.6", "wasi-libc": "0.0~git20220510"}
"""What made the module that is committed; others may come to other bytes."""


def test_the_demo_shows_output_verdict_and_what_to_try_next(stranger: Plasm, tmp_path: Path) -> None:
    done = stranger("demo", "--directory", str(tmp_path / "demo"), stdin=b"not read")

    assert (done.code, done.out) == (OK, b"dlroW ,olleH\n")
    assert "✓ exited with code 0 · " in done.err
    assert "✓ receipt verified ✓ signed by 12D3KooW" in done.err
    assert ", re-executed on " in done.err
    assert (tmp_path / "demo" / MODULE).read_bytes() == SHIPPED.read_bytes()


def test_what_the_demo_says_to_try_next_works_when_it_is_pasted(plasm: Plasm, tmp_path: Path) -> None:
    directory = tmp_path / "my 'first' job"
    pasted = plasm("demo", "--directory", str(directory)).err.partition("\nnext ")[2].strip().splitlines()
    command = shlex.join([sys.executable, "-m", "plasm_core.cli"])

    assert len(pasted) == 3
    for line in map(str.strip, pasted):
        assert line.startswith("plasm ")
        done = subprocess.run(
            ["sh", "-c", line.replace("plasm", command, 1)],
            env=plasm.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == OK, (line, done.stderr)


def test_the_demo_reverses_words_of_ones_own_and_speaks_json(plasm: Plasm, tmp_path: Path) -> None:
    done = plasm("demo", "some", "words", "--directory", str(tmp_path), "--json")
    said = json.loads(done.out)

    assert (done.code, done.err) == (OK, "")
    assert said["stdoutBase64"] == "c2Ryb3cgZW1vcwo="  # sdrow emos
    assert said["verdict"]["decision"] == "accept"
    assert "re-execution" in said["verdict"]["established"]
    assert (
        plasm("verify", said["receipt"], "--module", said["module"], "--key", said["verdict"]["signer"]).code
        == OK
    )


def test_a_receipt_of_the_demo_is_of_the_words_that_were_given(plasm: Plasm, tmp_path: Path) -> None:
    plasm("demo", "some", "words", "--directory", str(tmp_path))
    receipt = str(tmp_path / "receipt.json")

    assert plasm("verify", receipt, "--arg", "some", "--arg", "words").code == OK
    assert plasm("verify", receipt, "--arg", "other", "--arg", "words").code == REJECTED


def test_without_write_permission_the_demo_reports_it_and_runs_nothing(plasm: Plasm, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = plasm("demo", "--directory", str(tmp_path / "file"))

    assert (done.code, done.out) == (FAILURE, b"")
    assert "error: cannot make the directory " in done.err
    assert "hint: begin in a directory of yours, or name one with --directory" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_the_disk_did_not_take_is_no_success(plasm: Plasm, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = plasm.start("demo", "--directory", str(tmp_path), stdout=full)
        _, err = process.communicate(timeout=120)

    assert process.returncode == FAILURE
    assert "error: No space left on device" in err.decode()
    assert (tmp_path / "receipt.json").stat().st_size > 0


def test_the_module_of_the_demo_is_the_example() -> None:
    assert SHIPPED.read_bytes() == Path(HELLO).read_bytes()


def test_the_module_of_the_demo_is_what_its_source_makes(tmp_path: Path) -> None:
    for package, version in TOOLCHAIN.items():
        if shutil.which("dpkg-query") is None or not _version(package).startswith(version):
            pytest.skip(f"{package} {version} is not here")
    example = tmp_path / "examples" / "hello"
    example.mkdir(parents=True)
    shipped = tmp_path / SHIPPED.relative_to(ROOT)
    shipped.parent.mkdir(parents=True)
    for name in ("build.sh", "hello.c"):
        shutil.copy(ROOT / "examples" / "hello" / name, example)
    subprocess.run(
        [example / "build.sh"], check=True, capture_output=True, timeout=120, env={"PATH": os.environ["PATH"]}
    )

    assert (example / "hello.wasm").read_bytes() == Path(HELLO).read_bytes()
    assert shipped.read_bytes() == SHIPPED.read_bytes()


def _version(package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, timeout=60
    )
    return done.stdout
