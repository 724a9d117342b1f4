"""Run a reactor by one of its exports, look at it, and verify it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from plasm_core.testing.bench import MODULES
from tests.support.cli import FAILURE, JOB_FAILED, OK, USAGE, Done
from tests.support.wat import EMPTY_START, MEMORY, module

ENTRIES = str(MODULES / "entry.wasm")
SEVEN = '(func (export "seven") (result i32) i32.const 7)'


def test_an_entry_is_called_and_its_receipt_verified_by_running_it_again(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    receipt = tmp_path / "r.json"
    done = here("run", ENTRIES, "--entry", "seven", "--stdin", "/dev/null", "--receipt", str(receipt))

    assert (done.code, done.out) == (JOB_FAILED, b"sie")
    assert "exited with code 7" in done.err
    assert here("verify", str(receipt), "--module", ENTRIES, "--reexecute").code == OK
    asked = json.loads(here("receipt", "show", str(receipt), "--json").out)["predicate"]["asked"]
    assert (asked["profile"], asked["entry"]) == ("plasm.det/v2", "seven")


def test_a_missing_entry_is_refused_with_a_list_of_the_existing_ones(here: Callable[..., Done]) -> None:
    done = here("run", ENTRIES, "--entry", "eight", "--stdin", "/dev/null")

    assert done.code == FAILURE
    assert "the module exports no function eight" in done.err
    assert "it has --entry nothing or --entry returns or --entry seven" in done.err


def test_a_name_that_no_entry_has_is_refused(here: Callable[..., Done]) -> None:
    done = here("run", ENTRIES, "--entry", "_start", "--stdin", "/dev/null")

    assert done.code == USAGE
    assert "other than _start and _initialize" in done.err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((MEMORY, SEVEN), "it has no _start: run it with --entry, as in plasm run --entry seven"),
        ((MEMORY, EMPTY_START, SEVEN), "its _start does nothing: its work may be in an entry"),
    ],
)
def test_a_module_with_entries_is_inspected(
    here: Callable[..., Done], tmp_path: Path, fields: tuple[str, ...], words: str
) -> None:
    file = tmp_path / "m.wasm"
    file.write_bytes(module(*fields))
    done = here("inspect", str(file))
    as_json = here("inspect", str(file), "--entry", "seven", "--json")

    assert (done.code, as_json.code) == (OK, OK)
    assert words in done.out.decode()
    assert json.loads(as_json.out)["module"]["entries"] == ["seven"]
    assert here("inspect", str(file), "--entry", "none").code == FAILURE
