"""Hold the published JSON Schemas against the code: both accept a document, or both refuse it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Manifest, Outcome, Receipt, task_digest
from plasm_core.records.manifest import DEFAULT_LIMITS
from plasm_core.records.schema import encoded, main, manifest_schema, receipt_schema
from tests.support.mutations import mutated
from tests.support.receipts import ROOT, document, manifest, receipt

MANIFEST = document(manifest().to_json())
RECEIPT = document(receipt().to_statement())


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    """Match as ECMA-262 does, where `$` is the end of the text and not also the line end before it."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


Validator = extend(Draft202012Validator, {"pattern": _pattern})
MANIFESTS, RECEIPTS = Validator(manifest_schema()), Validator(receipt_schema())


def refusals(read: Callable[[bytes], object], value: Any) -> list[tuple[str, str]]:
    """Return the problems that the code finds."""
    try:
        read(json.dumps(value).encode())
    except InvalidRecordError as exc:
        return exc.problems
    return []


def with_honest_digest(value: Any) -> Any:
    """Put right what the code checks and no schema can, in a document that is a receipt but for that."""
    problems = refusals(Receipt.from_statement, value)
    names = ("profile", "module", "args", "env", "stdin", "seed", "capabilities")
    if len(problems) != 1 or problems[0][1].startswith(("expected", "required")):
        return value
    if problems[0][0] in ("predicate.asked.limits", "predicate.asked.taskDigest"):
        asked = value["predicate"]["asked"]
        digest = task_digest(**{name: asked[name] for name in names}, limits=DEFAULT_LIMITS)
        limits = RECEIPT["predicate"]["asked"]["limits"]
        honest = {**asked, "limits": limits, "taskDigest": digest}
        return {**value, "predicate": {**value["predicate"], "asked": honest}}
    return value


def assert_agreed(value: Any, read: Callable[[bytes], object], schema: Any) -> None:
    refused = refusals(read, with_honest_digest(value) if schema is RECEIPTS else value)

    if not any(what.startswith("not JSON") for _, what in refused):
        assert schema.is_valid(value) == (not refused), refused


@pytest.mark.parametrize(("name", "schema"), [("manifest", manifest_schema()), ("receipt", receipt_schema())])
def test_the_published_file_is_what_the_code_says(name: str, schema: Any, tmp_path: Path) -> None:
    published = (ROOT / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    main([str(tmp_path)])

    assert published == encoded(schema) == (tmp_path / f"{name}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "schema"), [("manifest", manifest_schema()), ("receipt", receipt_schema())])
def test_the_schema_is_one(name: str, schema: Any) -> None:
    Draft202012Validator.check_schema(schema)

    assert schema["$id"] == f"urn:phase:schema:{name}:v0"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["description"]


def test_manifests_are_closed_and_receipts_open_at_every_level() -> None:
    def objects(schema: Any) -> Iterator[Any]:
        if schema.get("type") == "object":
            yield schema
        for inner in schema.get("properties", {}).values():
            yield from objects(inner.get("items", inner))

    assert [inner["additionalProperties"] for inner in objects(manifest_schema())] == [False] * 5
    assert not [inner for inner in objects(receipt_schema()) if "additionalProperties" in inner]


def test_only_what_has_a_default_may_be_missing() -> None:
    claims = receipt_schema()["properties"]["predicate"]["properties"]["claims"]

    assert set(claims["properties"]) - set(claims["required"]) == {"attempt"}
    asked = receipt_schema()["properties"]["predicate"]["properties"]["asked"]

    assert (
        set(manifest_schema()["required"])
        == set(manifest_schema()["properties"]) - {"files", "entry"}
        == set(MANIFEST)
    )
    assert set(asked["properties"]) - set(asked["required"]) == {"files", "entry"}


def test_changing_a_returned_schema_changes_no_other() -> None:
    manifest_schema()["properties"]["cpu"]["minimum"] = -1

    assert manifest_schema()["properties"]["cpu"]["minimum"] == 1


@settings(max_examples=400)
@given(mutated(MANIFEST))
def test_code_and_schema_agree_on_damaged_manifests(value: Any) -> None:
    assert_agreed(value, Manifest.from_json, MANIFESTS)


@settings(max_examples=600)
@given(mutated(RECEIPT))
def test_code_and_schema_agree_on_damaged_receipts(value: Any) -> None:
    assert_agreed(value, Receipt.from_statement, RECEIPTS)


fields = st.fixed_dictionaries(
    {"kind": st.sampled_from(["exited", "trapped", "out_of_gas", "output_limit", "timed_out", "cancelled"])},
    optional={
        "code": st.sampled_from([None, -1, 0, 1.0, 2**32 - 1, 2**32, True, "0"]),
        "trap": st.sampled_from([None, "unreachable", "segfault", 1]),
        "detail": st.sampled_from([None, "", "why", "a\nb", "why\n", "x" * 512, "x" * 513, 1]),
        "later": st.just(1),
    },
)


@settings(max_examples=600)
@given(fields)
def test_code_and_schema_agree_on_what_goes_with_which_outcome(outcome: Any) -> None:
    value = document(json.dumps(RECEIPT).encode(), predicate__result__outcome=outcome)

    assert_agreed(value, Receipt.from_statement, RECEIPTS)


@given(st.lists(st.sampled_from(["stdout", "stderr", "stdlog"]), max_size=4))
def test_code_and_schema_agree_on_the_subjects(names: list[str]) -> None:
    subjects = [{"name": name, "digest": {"sha256": "00" * 32}} for name in names]

    assert_agreed({**RECEIPT, "subject": subjects}, Receipt.from_statement, RECEIPTS)


@pytest.mark.parametrize("capabilities", [[], ["clock.real"], ["random.real", "clock.real"]])
@pytest.mark.parametrize("reproducible", [True, False])
def test_code_and_schema_agree_on_the_reproducible_flag(capabilities: list[str], reproducible: bool) -> None:
    honest = receipt(of=manifest(capabilities=tuple(sorted(capabilities)))).to_statement()
    value = document(honest, predicate__result__reproducible=reproducible)

    assert_agreed(value, Receipt.from_statement, RECEIPTS)
    assert RECEIPTS.is_valid(value) == (reproducible == (not capabilities))


@pytest.mark.parametrize(
    "outcome", [Outcome(kind="trapped", trap="bad_signature"), Outcome(kind="out_of_gas")]
)
def test_what_the_code_writes_is_valid(outcome: Outcome) -> None:
    MANIFESTS.validate(MANIFEST)
    RECEIPTS.validate(document(receipt(outcome=outcome).to_statement()))


ASKED = "predicate__asked__"
CLAIMS = "predicate__claims__"


@pytest.mark.parametrize(
    "changes",
    [
        {ASKED + "taskDigest": "00" * 32},
        {ASKED + "limits__gas": "0"},
        {ASKED + "limits__memoryBytes": "1"},
        {"predicate__result__gasUsed": str(2**64)},
        {CLAIMS + "startedAt": "2026-02-30T00:00:00Z"},
        {CLAIMS + "startedAt": "2016-12-31T23:59:60Z"},
        {CLAIMS + "startedAt": "0000-01-01T00:00:00Z"},
        {"predicate__node__peerId": "12D3KooW" + "z" * 44},
    ],
)
def test_what_only_the_code_refuses(changes: dict[str, Any]) -> None:
    """This is the list of docs/schemas/README.md: an item removed here must be removed there too."""
    value = document(json.dumps(RECEIPT).encode(), **changes)

    assert refusals(Receipt.from_statement, value)
    assert RECEIPTS.is_valid(value)
