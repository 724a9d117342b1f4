"""The summary begins on a line of its own, and nothing is put into an output that goes elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.cli import HELLO, Plasm


@pytest.mark.parametrize(("given", "between"), [(b"abc", b"\n"), (b"\nabc", b"")])
def test_an_output_without_a_newline_does_not_run_into_the_summary(
    plasm: Plasm, given: bytes, between: bytes
) -> None:
    done = subprocess.run(
        plasm.command("run", HELLO),
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=plasm.environment(),
        timeout=120,
    )

    # on a slow machine, progress stands before the output
    assert given[::-1] + between + "✓ exited".encode() in done.stdout


def test_an_output_that_goes_elsewhere_is_as_it_was(plasm: Plasm, tmp_path: Path) -> None:
    done = plasm("run", HELLO, stdin=b"abc")

    assert done.out == b"cba"
    assert any(line.startswith("✓ exited") for line in done.err.splitlines())
