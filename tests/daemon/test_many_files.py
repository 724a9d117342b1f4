"""10,000 small files and one of 200 MB pass through a daemon and back within a bounded memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.job_files import MIB, many, one_of, pass_through

SIZE_BYTES = 200 * MIB


def fill(place: Path) -> None:
    many(place)
    one_of(SIZE_BYTES)(place)


def test_many_files_and_a_large_one_take_bounded_memory() -> None:
    """The numbers of 2 GiB are in benchmarks/results/job-files.txt."""
    _, client, daemon = pass_through(fill, back=True)

    assert client < 128 * MIB
    assert daemon < 128 * MIB
