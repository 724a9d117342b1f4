"""Hold receipts: what the statement says, what is ignored, and what contradicts itself."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import PREDICATE_TYPE, STATEMENT_TYPE, Outcome, Receipt, sha256
from plasm_core.records.manifest import DEFAULT_GAS
from plasm_core.records.receipt import MAX_STATEMENT_BYTES
from tests.support.receipts import MOMENT, STDOUT, document, encoded, manifest, receipt

RECEIPT = receipt()
GOOD = RECEIPT.to_statement()
ASKED, RESULT, CLAIMS = "predicate__asked__", "predicate__result__", "predicate__claims__"
CONTRADICTS = ("predicate.result.reproducible", "contradicts the capabilities")
NOT_THE_DIGEST = ("predicate.asked.taskDigest", "not the digest of the fields beside it")
BOTH_ONCE = ("subject", "expected stdout and stderr, once each")


def problems(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRecordError) as caught:
        Receipt.from_statement(data)
    assert caught.value.record == "receipt"
    return caught.value.problems


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(kind="exited", code=0),
        Outcome(kind="exited", code=2**32 - 1),
        Outcome(kind="trapped", trap="bad_signature"),
        Outcome(kind="out_of_gas"),
        Outcome(kind="timed_out", detail="after 5 s — größer"),
        Outcome(kind="cancelled"),
    ],
)
@pytest.mark.parametrize("capabilities", [(), ("clock.real", "random.real")])
def test_a_receipt_comes_back_as_it_was(outcome: Outcome, capabilities: tuple[str, ...]) -> None:
    made = receipt(of=manifest(capabilities=capabilities), outcome=outcome, stderr=b"x")

    assert Receipt.from_statement(made.to_statement()) == made


def test_the_receipt_in_hand_is_the_one_that_was_signed() -> None:
    """A node's own clock gives microseconds."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
    made = attrs.evolve(RECEIPT, claims=attrs.evolve(RECEIPT.claims, started_at=moment))

    assert Receipt.from_statement(made.to_statement()) == made


def test_the_statement_is_in_totos_with_the_outputs_as_subjects() -> None:
    value = document(GOOD)

    assert list(value) == ["_type", "subject", "predicateType", "predicate"]
    assert (value["_type"], value["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert value["subject"] == [
        {"name": "stdout", "digest": {"sha256": sha256(STDOUT)}},
        {"name": "stderr", "digest": {"sha256": sha256(b"")}},
    ]


def test_counters_are_strings_and_times_end_in_z() -> None:
    predicate = document(GOOD)["predicate"]

    assert predicate["asked"]["limits"]["gas"] == str(DEFAULT_GAS)
    assert predicate["claims"]["peakMemoryBytes"] == str(2**40)
    assert predicate["claims"]["startedAt"] == "2026-01-02T03:04:05.006000Z"


def test_nothing_is_null() -> None:
    assert b"null" not in GOOD
    assert document(GOOD)["predicate"]["result"]["outcome"] == {"kind": "exited", "code": 0}


def test_unknown_fields_are_ignored_everywhere() -> None:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{name: more(item) for name, item in value.items()}, "laterAddition": {"a": [1]}}
        return [more(item) for item in value] if isinstance(value, list) else value

    assert Receipt.from_statement(json.dumps(more(document(GOOD))).encode()) == RECEIPT


def test_the_subjects_come_in_any_order() -> None:
    swapped = encoded(GOOD, subject=document(GOOD)["subject"][::-1])

    assert Receipt.from_statement(swapped) == RECEIPT


@pytest.mark.parametrize("indices", [(), (0,), (1,), (0, 0), (0, 1, 1), (0, 1, 0)])
def test_stdout_and_stderr_are_there_once_each(indices: tuple[int, ...]) -> None:
    subjects = document(GOOD)["subject"]

    assert problems(encoded(GOOD, subject=[subjects[index] for index in indices])) == [BOTH_ONCE]


@pytest.mark.parametrize("name", ["module", "args", "env", "stdin", "seed"])
def test_the_task_digest_must_match_each_digest_of_the_receipt(name: str) -> None:
    assert problems(encoded(GOOD, **{ASKED + name: "11" * 32})) == [NOT_THE_DIGEST]


@pytest.mark.parametrize(("name", "value"), [("gas", "1"), ("memoryBytes", "65536"), ("outputBytes", "0")])
def test_the_task_digest_is_bound_to_each_limit(name: str, value: str) -> None:
    assert problems(encoded(GOOD, **{f"{ASKED}limits__{name}": value})) == [NOT_THE_DIGEST]


def test_the_task_digest_is_bound_to_the_capabilities() -> None:
    changes: dict[str, Any] = {ASKED + "capabilities": ["clock.real"], RESULT + "reproducible": False}

    assert problems(encoded(GOOD, **changes)) == [NOT_THE_DIGEST]
    assert problems(encoded(GOOD, **{ASKED + "taskDigest": "11" * 32})) == [NOT_THE_DIGEST]


@pytest.mark.parametrize(
    ("name", "value"), [("gas", "0"), ("gas", str(2**53)), ("memoryBytes", "1"), ("outputBytes", str(2**41))]
)
def test_limits_that_no_manifest_can_ask_for_are_refused(name: str, value: str) -> None:
    ((where, what),) = problems(encoded(GOOD, **{f"{ASKED}limits__{name}": value}))

    assert where == "predicate.asked.limits"
    assert "expected an integer" in what


@pytest.mark.parametrize("capabilities", [(), ("random.real",)])
def test_the_reproducible_flag_is_bound_to_the_capabilities(capabilities: tuple[str, ...]) -> None:
    made = receipt(of=manifest(capabilities=capabilities)).to_statement()
    lying = encoded(made, **{RESULT + "reproducible": bool(capabilities)})

    assert problems(lying) == [CONTRADICTS]


COUNTER = "expected a decimal string"
TIME = "expected an RFC 3339 time that ends in Z"
WRONG: list[tuple[str, Any, str]] = [
    ("_type", "https://in-toto.io/Statement/v0.1", "expected "),
    ("predicateType", "https://slsa.dev/provenance/v1", "expected "),
    ("predicate", None, "expected an object"),
    ("predicate__node", ..., "required, but missing"),
    ("predicate__node__peerId", "12D3KooW", "expected the PeerId of an Ed25519 key"),
    (ASKED + "jobId", "AB" * 32, "expected 64 lower-case"),
    (ASKED + "profile", "plasm.det/v9", "expected "),
    (ASKED + "limits__gas", 10**10, COUNTER),
    (RESULT + "gasUsed", "05650", COUNTER),
    (RESULT + "gasUsed", "+5", COUNTER),
    (RESULT + "gasUsed", " 5", COUNTER),
    (RESULT + "gasUsed", "5\n", COUNTER),
    (RESULT + "gasUsed", "-1", COUNTER),
    (RESULT + "gasUsed", "", COUNTER),
    (RESULT + "gasUsed", "\u0665", COUNTER),
    (RESULT + "gasUsed", str(2**64), COUNTER),
    (RESULT + "gasUsed", 5, COUNTER),
    (RESULT + "gasUsed", True, COUNTER),
    (RESULT + "reproducible", "true", "expected true or false"),
    (RESULT + "reproducible", 1, "expected true or false"),
    (RESULT + "outcome", "exited", "expected an object"),
    (RESULT + "outcome__kind", "exploded", "expected "),
    (CLAIMS + "startedAt", "2026-01-02T03:04:05+00:00", TIME),
    (CLAIMS + "startedAt", "2026-01-02T03:04:05z", TIME),
    (CLAIMS + "startedAt", "2026-01-02 03:04:05Z", TIME),
    (CLAIMS + "startedAt", "2026-02-30T03:04:05Z", TIME),
    (CLAIMS + "startedAt", "2026-01-02T24:00:00Z", TIME),
    (CLAIMS + "startedAt", "0000-01-02T03:04:05Z", TIME),
    (CLAIMS + "startedAt", "2026-01-02T03:04:05.1234567Z", TIME),
    (CLAIMS + "startedAt", 1767322800, TIME),
    (CLAIMS + "isolation", "none", "expected "),
    (CLAIMS + "attempt", 0, "expected an integer ≥ 1"),
    (CLAIMS + "runtime__name", "Wasm Time", "expected a string"),
    (CLAIMS + "runtime__version", "5\x1b[31m", "expected a string"),
]


@pytest.mark.parametrize(("path", "value", "what"), WRONG)
def test_a_problem_is_named_with_its_path(path: str, value: Any, what: str) -> None:
    ((where, message),) = problems(encoded(GOOD, **{path: value}))

    assert where == path.replace("__", ".")
    assert message.startswith(what)


@pytest.mark.parametrize(
    "subject", [None, 5, "", "stdout", {}, [None], ["stdout"], [[]], [{"name": "stdout"}]]
)
def test_invalid_subjects_are_refused(subject: Any) -> None:
    assert all(where.startswith("subject") for where, _ in problems(encoded(GOOD, subject=subject)))


def test_the_greatest_counter_is_read_exactly() -> None:
    read = Receipt.from_statement(encoded(GOOD, **{RESULT + "gasUsed": str(2**64 - 1)}))

    assert read.result.gas_used == 2**64 - 1


@pytest.mark.parametrize(("fraction", "microsecond"), [("", 0), (".5", 500_000), (".000001", 1)])
def test_fractions_of_a_second_are_read_exactly(fraction: str, microsecond: int) -> None:
    read = Receipt.from_statement(encoded(GOOD, **{CLAIMS + "startedAt": f"2026-01-02T03:04:05{fraction}Z"}))

    assert read.claims.started_at == MOMENT.replace(microsecond=microsecond)


@pytest.mark.parametrize(
    "moment", [MOMENT.replace(tzinfo=None), MOMENT.astimezone(timezone(timedelta(hours=1)))]
)
def test_a_moment_is_in_utc(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"^started_at: expected an RFC 3339 time"):
        attrs.evolve(RECEIPT.claims, started_at=moment)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"[" * 400_000, b'{"_type":1,"_type":1}'])
def test_a_document_that_is_no_json_object_is_refused(data: bytes) -> None:
    ((where, _),) = problems(data)

    assert where == ""


def test_a_statement_may_have_so_many_bytes_and_no_more() -> None:
    padded = GOOD + b" " * (MAX_STATEMENT_BYTES - len(GOOD))

    assert Receipt.from_statement(padded) == RECEIPT
    assert problems(padded + b" ")[0][1].startswith("524289 bytes, more than")


def test_an_output_digest_is_checked_on_construction() -> None:
    with pytest.raises(ValueError, match=r"stdout"):
        attrs.evolve(RECEIPT, stdout="no digest")
