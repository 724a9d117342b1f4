"""Hold outcomes: what goes with what, and which state of the life cycle each ends in."""

from typing import Any

import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Outcome
from plasm_core.records.converter import structure
from plasm_core.records.outcome import CLAIMED, RECHECKABLE
from plasm_core.trap_kinds import TRAP_KINDS

ALL = (*RECHECKABLE, *CLAIMED)
COMPANIONS: dict[str, dict[str, Any]] = {"exited": {"code": 0}, "trapped": {"trap": "unreachable"}}


def outcome(kind: str, **more: Any) -> Outcome:
    return Outcome(kind=kind, **{**COMPANIONS.get(kind, {}), **more})


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("exited", "COMPLETE"),
        ("trapped", "EXECUTOR_ERROR"),
        ("out_of_gas", "EXECUTOR_ERROR"),
        ("output_limit", "EXECUTOR_ERROR"),
        ("timed_out", "EXECUTOR_ERROR"),
        ("cancelled", "CANCELED"),
        ("system_error", "SYSTEM_ERROR"),
    ],
)
def test_each_kind_ends_in_its_state(kind: str, state: str) -> None:
    assert outcome(kind).state == state


def test_every_kind_has_been_thought_of() -> None:
    assert ALL == (
        "exited",
        "trapped",
        "out_of_gas",
        "output_limit",
        "timed_out",
        "cancelled",
        "system_error",
    )


@pytest.mark.parametrize("kind", ALL)
def test_claims_of_the_node_are_not_recheckable(kind: str) -> None:
    assert outcome(kind).recheckable == (kind in RECHECKABLE)


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False), (255, False), (2**32 - 1, False)])
def test_only_exit_code_zero_is_success(code: int, ok: bool) -> None:
    found = outcome("exited", code=code)

    assert found.ok == ok
    assert found.state == ("COMPLETE" if ok else "EXECUTOR_ERROR")


@pytest.mark.parametrize("kind", ALL)
def test_only_an_exit_succeeds(kind: str) -> None:
    assert outcome(kind).ok == (kind == "exited")


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "exited"])
def test_only_exited_has_a_code(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^code goes with exited"):
        outcome(kind, code=0)
    with pytest.raises(ValueError, match=r"^code goes with exited"):
        Outcome(kind="exited")


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "trapped"])
def test_only_trapped_has_a_trap(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^trap goes with trapped"):
        outcome(kind, trap="unreachable")
    with pytest.raises(ValueError, match=r"^trap goes with trapped"):
        Outcome(kind="trapped")


@pytest.mark.parametrize("kind", ALL)
def test_a_detail_goes_with_what_is_only_claimed(kind: str) -> None:
    if kind in CLAIMED:
        assert outcome(kind, detail="why").detail == "why"
        return
    with pytest.raises(ValueError, match=r"^detail goes with timed_out"):
        outcome(kind, detail="why")


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"kind": "exploded"}, "^kind: expected "),
        ({"kind": "exited", "code": -1}, "^code: expected an integer ≥ 0, got -1"),
        ({"kind": "exited", "code": 2**32}, "^code: expected an integer ≤ 4294967295"),
        ({"kind": "exited", "code": True}, "^code: expected an integer ≥ 0, got true"),
        ({"kind": "trapped", "trap": "segfault"}, "^trap: expected "),
        ({"kind": "timed_out", "detail": "a\nb"}, "^detail: expected a string"),
        ({"kind": "timed_out", "detail": "a\x1b[0m"}, "^detail: expected a string"),
        ({"kind": "timed_out", "detail": "x" * 513}, "^detail: expected a string of at most 512 characters"),
    ],
)
def test_a_field_takes_only_its_own_values(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Outcome(**fields)


@pytest.mark.parametrize("trap", TRAP_KINDS)
def test_an_outcome_says_in_words_how_the_run_ended(trap: str) -> None:
    assert str(outcome("trapped", trap=trap)) == f"trapped: {trap}"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcome("exited", code=3), "exited with code 3"),
        (outcome("out_of_gas"), "out of gas"),
        (outcome("timed_out", detail="after 5 s of wall time"), "timed out: after 5 s of wall time"),
        (outcome("cancelled"), "cancelled"),
    ],
)
def test_every_outcome_has_its_words(found: Outcome, words: str) -> None:
    assert str(found) == words


def test_a_contradiction_in_json_is_named() -> None:
    with pytest.raises(InvalidRecordError) as caught:
        structure({"kind": "out_of_gas", "code": 1}, Outcome, record="outcome")

    assert caught.value.problems == [("", "code goes with exited, and only with it")]
