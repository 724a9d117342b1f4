"""A short run of the fuzzer, the same each time, and proof that it finds what is there to be found."""

from __future__ import annotations

import collections
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.testing.bench import module_named
from tests.agreement.engines import missing
from tests.fuzz.fuzz_modules import corpus
from tests.fuzz.mutator import Mutator, bodies, instructions, joined, sections
from tests.support.receipts import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="engines are forked with here")

MODULE = module_named("echo")


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    """In a process of its own, since one that has threads must not fork."""
    command = [sys.executable, "tests/fuzz/fuzz_modules.py", "--inputs", "300", "--seed", "1"]
    done = subprocess.run(
        [*command, "--findings", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )

    assert not done.returncode, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[2:]]
    counts = collections.Counter({verdict: int(count) for count, verdict in lines if count.isdigit()})
    assert counts.total() == 300
    assert sum(counts[verdict] for verdict in counts if verdict.startswith("ran on")) > 60  # not too coarse
    assert sum(counts[verdict] for verdict in counts if verdict.startswith("refused")) > 60  # nor too fine


def test_a_short_run_on_v8_finds_nothing(tmp_path: Path) -> None:
    if reason := missing("v8"):
        pytest.skip(reason)
    command = [sys.executable, "tests/fuzz/fuzz_modules.py", "--inputs", "60", "--engines", "wasmtime,v8"]
    done = subprocess.run(
        [*command, "--findings", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert not done.returncode, done.stdout + done.stderr
    assert "engines wasmtime, v8" in done.stdout
    assert "ran on 2" in done.stdout


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("killed", "dies: SIGSEGV"),
        ("raising", "raises running on strange: KeyError in raising"),
        ("failing", "system_error on strange: compiling: function N is odd"),
        ("hanging", "hangs"),
        ("other", "engines disagree: wasmtime:exited strange:exited"),
        ("cut", "metered code is not valid"),
    ],
)
def test_the_fuzzer_finds(name: str, finding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.teeth", name], cwd=ROOT, capture_output=True, timeout=300
    )

    assert not done.returncode, done.stderr.decode()
    assert json.loads(done.stdout) == [finding]


def test_mutations_of_one_seed_are_the_same() -> None:
    def some() -> list[bytes]:
        mutator = Mutator(corpus(), random.Random(5))
        return [mutator.mutate(MODULE) for _ in range(50)]

    assert some() == some()


def test_modules_are_split_and_joined_again_unchanged() -> None:
    """The mutator can only damage fields that it can read."""
    for module in corpus():
        parts = sections(module)
        assert all(kind >= 0 for kind, _ in parts)
        assert sections(joined(parts)) == parts
        [code] = [content for kind, content in parts if kind == 10]
        assert bodies(code)


def test_instructions_are_read_to_the_end() -> None:
    for module in corpus():
        if b"\xfd" in module:
            continue  # vectors are not read
        for kind, content in sections(module):
            for body in (bodies(content) or []) if kind == 10 else []:
                assert instructions(body)[-1] == (len(body) - 1, len(body))


def test_numbers_that_cannot_be_believed_are_not() -> None:
    """A count of things that are not there must not be counted to."""
    huge = b"\xff" * 8 + b"\x7f"

    assert bodies(huge) is None
    assert instructions(huge) == []
