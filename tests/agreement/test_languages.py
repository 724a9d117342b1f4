"""What today's compilers make with their default flags runs on every engine to the same output and gas.

One program in each language, built here: a compiler that is not installed is a skipped test with the reason.
"""

from __future__ import annotations

import collections
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from plasm_core.local_node import LocalNode
from plasm_core.records import Limits, sha256
from plasm_core.records.manifest import PROFILE_V2
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import missing
from tests.agreement.vectors import Given, run

_SOURCES = Path(__file__).parents[1] / "corpus" / "languages"
_LANGUAGES = ("assemblyscript", "cpp", "go", "rust", "zig")
_NOT_INSTALLED = 77
_TEXT = "the quick brown fox jumps over the lazy dog\nthe dog sleeps while the fox runs on\n" * 40
_LINES = {
    "(1+2)*3": "9",
    "7/(3-3)": "division by zero",
    "((8/(2-2)))": "within the brackets at 0: within the brackets at 1: division by zero",
    "2*(3": "expected a bracket at 4",
    "2*x": "expected a number at 2",
    "99999999999999999999": "stol: out of range",
    "(1+99999999999999999999)": "within the brackets at 0: stol: out of range",
    "1 2": "expected the end at 2",
}
"""Lines that the program with exceptions reads, and what it prints for each."""
_LIMITS = Limits(gas=2_000_000_000, memory_bytes=128 << 20, output_bytes=1 << 20)

Built = Callable[[str], bytes]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a function that builds one language's program, once, or skips the test."""
    directory = tmp_path_factory.mktemp("languages")
    results: dict[str, subprocess.CompletedProcess[str]] = {}
    # Compilers that are installed beside this Python come first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def build(language: str) -> bytes:
        output = directory / f"{language}.wasm"
        if language not in results:
            command = [str(_SOURCES / "build.sh"), language, str(output)]
            results[language] = subprocess.run(
                command, capture_output=True, text=True, timeout=600, env=os.environ | {"PATH": path}
            )
        done = results[language]
        if done.returncode == _NOT_INSTALLED:
            pytest.skip(done.stderr.strip())
        assert not done.returncode, done.stdout + done.stderr
        return output.read_bytes()

    return build


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _expected() -> bytes:
    """Return what each program prints for the text: a count and a word a line, then 1,000 times the mean length."""
    words = _TEXT.split()
    counts = collections.Counter(words)
    lines = [f"{counts[word]} {word}" for word in sorted(counts, key=lambda word: (-counts[word], word))]
    mean = _float32(_float32(sum(map(len, words))) / len(words))
    return "\n".join([*lines, str(int(_float32(mean * 1000)))]).encode() + b"\n"


@pytest.mark.parametrize("engine", ["v8", "wasm3"])
@pytest.mark.parametrize("language", _LANGUAGES)
def test_a_program_of_today_runs_alike_on_engines_of_different_origin(
    nodes: Mapping[str, LocalNode], built: Built, language: str, engine: str
) -> None:
    skip_if_missing(engine)
    task = Given(given=built(language), stdin=_TEXT.encode(), limits=_LIMITS)

    first, second = (run(nodes[name], name, task) for name in ("wasmtime", engine))

    expected = _expected()
    assert first.outcome == {"kind": "exited", "code": 0}
    assert first.stdout == (sha256(expected), len(expected))
    assert second == first


@pytest.mark.parametrize(
    ("args", "outcome", "lines"),
    [
        ((), {"kind": "exited", "code": 0}, [*_LINES.values(), "0 numbers, 0 brackets alive"]),
        ((b"strict",), {"kind": "trapped", "trap": "uncaught_exception"}, ["9"]),
    ],
    ids=["all are caught", "one is not caught"],
)
def test_exceptions_of_cpp_run_alike(
    nodes: Mapping[str, LocalNode],
    built: Built,
    args: tuple[bytes, ...],
    outcome: dict[str, str | int],
    lines: list[str],
) -> None:
    """A compiler's own unwinding: nested and rethrown exceptions, destructors, handlers of a base class."""
    skip_if_missing("v8")
    stdin = "".join(f"{line}\n" for line in _LINES).encode()
    task = Given(given=built("cpp-exceptions"), args=args, stdin=stdin, limits=_LIMITS, profile=PROFILE_V2)

    first, second = (run(nodes[name], name, task) for name in ("wasmtime", "v8"))

    expected = "".join(f"{line}\n" for line in lines).encode()
    assert first.outcome == outcome
    assert first.stdout == (sha256(expected), len(expected))
    assert second == first


def test_there_is_a_program_for_each_language() -> None:
    assert missing("wasmtime") == ""
    assert {path.suffix for path in _SOURCES.glob("words.*")} == {".cpp", ".go", ".rs", ".ts", ".zig"}
