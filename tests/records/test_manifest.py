"""Hold manifests: what is taken, and that every problem is named with its path."""

import json
from typing import Any

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import JobInput, Limits, Manifest, Retry, job_id, list_digest, manifest_for, sha256
from plasm_core.records.manifest import DEFAULT_GAS, DEFAULT_LIMITS, MAX_MANIFEST_BYTES, ZERO_SEED
from tests.support.receipts import MODULE, encoded, manifest

GOOD = manifest().to_json()
HEX_64 = "64 lower-case hexadecimal digits"
NAMES = "a list of distinct names out of clock.real, random.real"


def problems(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRecordError) as caught:
        Manifest.from_json(data)
    assert caught.value.record == "manifest"
    return caught.value.problems


def test_a_manifest_comes_back_as_it_was() -> None:
    made = manifest(capabilities=("clock.real", "random.real"), retry=Retry(attempts=7))

    assert Manifest.from_json(made.to_json()) == made


WRONG: list[tuple[str, Any, str, str]] = [
    ("limits__memory_bytes", "lots", "limits.memory_bytes", 'expected an integer ≥ 65536, got "lots"'),
    ("limits__memory_bytes", 65_535, "limits.memory_bytes", "expected an integer ≥ 65536, got 65535"),
    (
        "limits__memory_bytes",
        2**32 + 1,
        "limits.memory_bytes",
        "expected an integer ≤ 4294967296, got 4294967297",
    ),
    ("limits__gas", 0, "limits.gas", "expected an integer ≥ 1, got 0"),
    ("limits__gas", 2**53, "limits.gas", "expected an integer ≤ 9007199254740991, got 9007199254740992"),
    ("limits__gas", "1", "limits.gas", 'expected an integer ≥ 1, got "1"'),
    ("limits__gas", 1.5, "limits.gas", "expected an integer ≥ 1, got 1.5"),
    ("limits__gas", True, "limits.gas", "expected an integer ≥ 1, got true"),
    ("limits__gas", None, "limits.gas", "expected an integer ≥ 1, got null"),
    ("limits__output_bytes", -1, "limits.output_bytes", "expected an integer ≥ 0, got -1"),
    ("limits__fuel", 5, "limits.fuel", "unknown field"),
    ("limits__gas", ..., "limits.gas", "required, but missing"),
    ("limits", ..., "limits", "required, but missing"),
    ("limits", [], "limits", "expected an object"),
    ("limits", None, "limits", "expected an object"),
    ("retry", 3, "retry", "expected an object"),
    ("retry__attempts", 101, "retry.attempts", "expected an integer ≤ 100, got 101"),
    ("wall_time_s", 86_401, "wall_time_s", "expected an integer ≤ 86400, got 86401"),
    ("wall_time_s", 0, "wall_time_s", "expected an integer ≥ 1, got 0"),
    ("cpu", False, "cpu", "expected an integer ≥ 1, got false"),
    ("cpu", {"a": 1}, "cpu", "expected an integer ≥ 1, got an object"),
    ("format", "phase.manifest/v1", "format", 'expected "phase.manifest/v0", got "phase.manifest/v1"'),
    (
        "profile",
        ["plasm.det/v1"],
        "profile",
        'expected "plasm.det/v1" or "plasm.det/v2", got ["plasm.det/v1"]',
    ),
    ("module", "AB" * 32, "module", f'expected {HEX_64}, got "{"AB" * 28}…'),
    ("stdin", "ab" * 31, "stdin", f'expected {HEX_64}, got "{"ab" * 28}…'),
    ("args", "ab" * 32 + "\n", "args", f'expected {HEX_64}, got "{"ab" * 28}…'),
    ("env", "", "env", f'expected {HEX_64}, got ""'),
    ("seed", "\u0660" * 64, "seed", f'expected {HEX_64}, got "' + "\\u0660" * 9 + "\\u…"),
    ("nonce", "00" * 32, "nonce", f'expected 32 lower-case hexadecimal digits, got "{"00" * 28}…'),
    ("capabilities", "clock.real", "capabilities", f'expected {NAMES}, got "clock.real"'),
    (
        "capabilities",
        ["clock.real"] * 2,
        "capabilities",
        f'expected {NAMES}, got ["clock.real", "clock.real"]',
    ),
    ("capabilities", ["net"], "capabilities", f'expected {NAMES}, got ["net"]'),
    ("capabilities", [None], "capabilities", f"expected {NAMES}, got [null]"),
    ("capabilities", {"clock.real": 1}, "capabilities", f"expected {NAMES}, got an object"),
    ("colour", "red", "colour", "unknown field"),
    ("nonce", ..., "nonce", "required, but missing"),
]


@pytest.mark.parametrize(("path", "value", "where", "what"), WRONG)
def test_a_problem_is_named_with_its_path(path: str, value: Any, where: str, what: str) -> None:
    assert problems(encoded(GOOD, **{path: value})) == [(where, what)]


@pytest.mark.parametrize(
    ("value", "found"),
    [([["clock.real"]], "a list"), ([{}], "a list"), (["x"] * 6, "a list"), ([1, "1"], '[1, "1"]')],
)
def test_a_list_of_invalid_names_is_reported_as_such(value: Any, found: str) -> None:
    assert problems(encoded(GOOD, capabilities=value)) == [("capabilities", f"expected {NAMES}, got {found}")]


@pytest.mark.parametrize("depth", [100, 900])
def test_a_deep_value_is_named_like_any_other(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    ((where, what),) = problems(GOOD.replace(b'"cpu":1', b'"cpu":' + deep))

    assert (where, what) in [("cpu", "expected an integer ≥ 1, got a list"), ("", "nested too deeply")]


def test_every_problem_is_named_at_once() -> None:
    found = problems(encoded(GOOD, limits__gas=0, limits__memory_bytes="lots", cpu=..., colour=1))

    assert sorted(path for path, _ in found) == ["colour", "cpu", "limits.gas", "limits.memory_bytes"]


def test_an_error_reads_as_one_sentence() -> None:
    with pytest.raises(InvalidRecordError) as caught:
        Manifest.from_json(encoded(GOOD, limits__gas=0, cpu=...))

    message = "limits.gas: expected an integer ≥ 1, got 0; cpu: required, but missing"
    assert str(caught.value) == f"not a valid manifest: {message}"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not JSON: Expecting value"),
        (b"{", "not JSON: Expecting property name"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b'"manifest"', "expected an object"),
        (b"NaN", "not JSON: NaN is not JSON"),
        (b'{"cpu": -Infinity}', "not JSON: -Infinity is not JSON"),
        (b'{"cpu": 1, "cpu": 1}', "not JSON: a name occurs twice in one object"),
        (b'{"limits": {"gas": 1, "\\u0067as": 1}}', "not JSON: a name occurs twice in one object"),
        (b"\xff", "not JSON: 'utf-8' codec can't decode"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
        ("{}".encode("utf-16"), "not JSON: 'utf-8' codec can't decode"),
        (b"{} {}", "not JSON: Extra data"),
    ],
)
def test_a_document_that_is_no_json_object_is_refused(data: bytes, what: str) -> None:
    ((where, message),) = problems(data)

    assert where == ""
    assert message.startswith(what)


@pytest.mark.parametrize("data", [b"[" * 60_000, b'{"a":' * 10_000, b"[" * 30_000 + b"]" * 30_000])
def test_deep_nesting_is_refused_with_every_parser(data: bytes) -> None:
    ((where, _),) = problems(data)

    assert where == ""


def test_a_manifest_may_have_so_many_bytes_and_no_more() -> None:
    padded = GOOD + b" " * (MAX_MANIFEST_BYTES - len(GOOD))

    assert Manifest.from_json(padded) == manifest()
    assert problems(padded + b" ") == [("", "65537 bytes, more than the 65536 allowed")]


@pytest.mark.parametrize("number", ["1e10", "10000000000.0", "1E+10"])
def test_a_float_that_is_whole_is_an_integer(number: str) -> None:
    """JSON Schema counts them as integers, and some encoders write them so."""
    found = Manifest.from_json(GOOD.replace(f'"gas":{DEFAULT_GAS}'.encode(), f'"gas":{number}'.encode()))

    assert found.limits.gas == 10**10
    assert type(found.limits.gas) is int


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e300", "0.1", "-0.0", "9007199254740992.0"])
def test_a_float_outside_the_bounds_is_no_integer(number: str) -> None:
    ((where, _),) = problems(GOOD.replace(f'"gas":{DEFAULT_GAS}'.encode(), f'"gas":{number}'.encode()))

    assert where == "limits.gas"


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    assert problems(GOOD.replace(b'"cpu":1', b'"cpu":' + b"9" * 60_000))


def test_capabilities_come_in_any_order_and_mean_the_same() -> None:
    one, other = (
        Manifest.from_json(encoded(GOOD, capabilities=names))
        for names in (["random.real", "clock.real"], ["clock.real", "random.real"])
    )

    assert one == other
    assert one.task_digest == other.task_digest
    assert not one.reproducible


def test_construction_checks_what_parsing_checks() -> None:
    with pytest.raises(ValueError, match=r"^memory_bytes: expected an integer ≥ 65536, got 1$"):
        Limits(gas=1, memory_bytes=1, output_bytes=0)
    with pytest.raises(ValueError, match=r"^capabilities: expected a list of distinct names"):
        attrs.evolve(manifest(), capabilities=("random.real", "clock.real"))
    with pytest.raises(ValueError, match=r"^gas: expected an integer ≥ 1, got true$"):
        attrs.evolve(DEFAULT_LIMITS, gas=True)


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        manifest().cpu = 2  # type: ignore[misc]


def test_the_job_id_is_that_of_the_bytes_as_sent() -> None:
    spaced = json.dumps(json.loads(GOOD), indent=1).encode()

    assert Manifest.from_json(spaced) == Manifest.from_json(GOOD)
    assert job_id(GOOD) == sha256(GOOD) != job_id(spaced)


def test_two_submissions_of_one_task_are_two_jobs() -> None:
    one, other = (manifest_for(MODULE, JobInput(stdin=b"x")) for _ in range(2))

    assert one.task_digest == other.task_digest
    assert job_id(one.to_json()) != job_id(other.to_json())


def test_a_manifest_names_its_input_by_digest() -> None:
    inputs = JobInput(args=(b"a", b"b"), env=(b"A=1",), stdin=b"in")
    made = manifest_for(MODULE, inputs)

    assert (made.module, made.stdin, made.seed) == (sha256(MODULE), sha256(b"in"), ZERO_SEED)
    assert (made.args, made.env) == (list_digest([b"a", b"b"]), list_digest([b"A=1"]))
    assert inputs.mismatches(made) == []
    assert attrs.evolve(inputs, args=(b"ab",), stdin=b"").mismatches(made) == ["args", "stdin"]


def test_neither_input_nor_secret_shows_in_a_representation() -> None:
    assert "confidential" not in repr(JobInput(stdin=b"confidential"))


def test_a_manifest_that_was_written_is_the_one_that_is_read() -> None:
    """Bytes that were written lately are not parsed again: what is remembered must be what parsing would give."""
    written = manifest_for(b"code", JobInput(args=(b"a",)), grants=("random.real", "clock.real"))
    data = written.to_json()

    assert Manifest.from_json(data) is written
    assert Manifest.from_json(data + b" ") == written  # other bytes are parsed
