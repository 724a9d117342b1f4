"""The memory in which a worker notes how much gas is left: what the node reads there is bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from plasm_core.sandbox.process.gas_note import GasNote


@pytest.fixture
def note() -> Iterator[GasNote]:
    made = GasNote()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("left", "used"), [(0, 100), (40, 60), (100, 0), (101, 0), (-1, 0), (-(1 << 63), 0), ((1 << 63) - 1, 0)]
)
def test_what_is_noted_counts_up_to_the_limit(note: GasNote, left: int, used: int) -> None:
    os.pwrite(note.fd, left.to_bytes(8, "little", signed=True), 0)

    assert note.used(100) == used


def test_a_new_note_says_nothing(note: GasNote) -> None:
    assert note.used(100) == 0


def test_a_guest_can_neither_shorten_nor_lengthen_it(note: GasNote) -> None:
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.truncate(note.fd, size)
    with pytest.raises(PermissionError):
        os.pwrite(note.fd, b"more", 1 << 20)
