"""No hostile listing, name, message or file operation touches a file outside the directory that the user named.

`python tests/fuzz/fuzz_trees.py` makes 50,000 attempts of each kind; `benchmarks/results/fuzz-trees.txt` has its last
run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzz_trees import KINDS, Fuzz, Watch, fuzzing

ATTEMPTS = 150


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def fuzz(watch: Watch) -> Iterator[Fuzz]:
    with fuzzing(7, watch) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_is_touched(fuzz: Fuzz, kind: str) -> None:
    for number in range(ATTEMPTS):
        fuzz.attempt(kind, number)

    assert fuzz.wrong == []
    assert sum(fuzz.counts.values()) == ATTEMPTS
    assert any("refused" not in verdict for verdict in fuzz.counts)


def test_a_file_that_is_written_beside_the_target_is_noticed(
    fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above could not fail."""

    def escape() -> str:
        (fuzz.area.parent / "elsewhere").write_bytes(b"")
        fuzz.bait[1].write_bytes(b"changed")
        return "written"

    monkeypatch.setattr(fuzz, "names", escape)

    fuzz.attempt("names", 0)

    assert len(fuzz.wrong) == 2
    assert "elsewhere" in fuzz.wrong[0]
    assert fuzz.wrong[1] == "names 0: the bait was changed"


def test_an_operation_that_opens_a_file_of_the_machine_is_noticed(
    fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> str:
        fuzz.bait[0].read_bytes()
        return "called"

    monkeypatch.setattr(fuzz, "operations", look)

    fuzz.attempt("operations", 0)

    assert fuzz.wrong[0].startswith("operations 0: open ")


def test_an_error_that_no_caller_expects_is_noticed(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> str:
        raise IndexError("of nothing")

    monkeypatch.setattr(fuzz, "messages", crash)

    fuzz.attempt("messages", 0)

    assert fuzz.wrong == ["messages 0: IndexError: of nothing"]
