"""Reductions, and the chain from the last receipt down to each input."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.test_map import accepted
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")
JOBS, FAN_IN = 7, 2


def reversed_by_hello(data: bytes) -> bytes:
    """Return what hello makes of bytes below 0x80."""
    return data[:-1][::-1] + b"\n" if data.endswith(b"\n") else data[::-1]


def reduced(results: list[bytes], fan_in: int) -> bytes:
    """Return what a reduction by hello comes to."""
    while True:
        groups = [results[first : first + fan_in] for first in range(0, len(results), fan_in)]
        results = [
            reversed_by_hello(b"".join(struct.pack("<Q", len(item)) + item for item in group))
            for group in groups
        ]
        if len(results) == 1:
            return results[0]


RESULTS = [f"{number}\n".encode() for number in range(JOBS)]
ARGUMENTS = (HELLO, "--range", str(JOBS), "--reduce", HELLO)


@pytest.fixture(scope="module")
def exported(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a reduction by three levels."""
    home = tmp_path_factory.mktemp("reduced")
    done = daemon.plasm(
        "map",
        *ARGUMENTS,
        "--fan-in",
        str(FAN_IN),
        "--out",
        str(home / "out"),
        "--batch",
        str(home / "b"),
        "--",
        "{}",
    )
    assert done.stdout == reduced(RESULTS, FAN_IN)
    return home


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    """A copy of them, to be altered."""
    return Path(shutil.copytree(exported / "out", tmp_path / "out"))


def decided(daemon: Daemon, out: Path) -> tuple[int, str]:
    done = daemon.plasm("verify", "--chain", str(out / "batch.json"), check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).decode().split())


def test_one_job_takes_all_results(daemon: Daemon) -> None:
    done = daemon.plasm("map", *ARGUMENTS, "--", "{}")

    assert done.stdout == reduced(RESULTS, JOBS)


def test_a_chain_of_three_levels_holds(daemon: Daemon, out: Path) -> None:
    code, said = decided(daemon, out)

    assert code == 0, said
    assert f"3 levels over a batch of {JOBS} jobs: signed by 12D3KooW" in said
    assert "14 receipts belong to it" in said


def test_a_resumed_reduction_runs_nothing_again(daemon: Daemon, exported: Path) -> None:
    before = accepted(daemon)

    done = daemon.plasm("map", "--resume", str(exported / "b"))

    assert done.stdout == reduced(RESULTS, FAN_IN)
    assert accepted(daemon) == before


def test_a_level_that_was_not_begun_is_made_again(daemon: Daemon, exported: Path, tmp_path: Path) -> None:
    """As after a kill between the end of one level and the beginning of the next."""
    batch = Path(shutil.copytree(exported / "b", tmp_path / "b"))
    shutil.rmtree(batch / "reduce-3")
    (batch / "reduce-2" / "planned").unlink()
    before = accepted(daemon)

    done = daemon.plasm("map", "--resume", str(batch))

    assert done.stdout == reduced(RESULTS, FAN_IN)
    assert accepted(daemon) - before == 3


def another_whole_job(out: Path) -> None:
    """Exchange a job of the middle level for another with its receipt: each by itself holds."""
    for place in ("receipt.json", "stdout"):
        shutil.copy(out / "reduce-2" / "000001" / place, out / "reduce-2" / "000000" / place)


def another_whole_level(out: Path) -> None:
    """Put a level that holds by itself in the place of the one above."""
    shutil.rmtree(out / "reduce-2")
    shutil.copytree(out / "reduce-1", out / "reduce-2")


@pytest.mark.parametrize(
    "alter",
    [
        lambda out: (out / "reduce-1" / "000002" / "stdout").write_bytes(b"altered\n"),
        lambda out: (out / "000003" / "stdout").write_bytes(b"4\n"),
        lambda out: (out / "reduce-1" / "000002" / "stdout").unlink(),
        lambda out: shutil.rmtree(out / "reduce-2" / "000001"),
        lambda out: shutil.rmtree(out / "reduce-3"),
        lambda out: shutil.rmtree(out / "reduce-1"),
        lambda out: shutil.copy(out / "reduce-1" / "batch.json", out / "reduce-2" / "batch.json"),
        another_whole_job,
        another_whole_level,
    ],
)
def test_a_single_alteration_is_found(daemon: Daemon, out: Path, alter: Callable[[Path], object]) -> None:
    alter(out)

    code, said = decided(daemon, out)

    assert code == 7, said
    assert "chain rejected" in said
