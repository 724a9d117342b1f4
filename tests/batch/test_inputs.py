"""The inputs of a batch, good and bad."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from plasm_core.batch import inputs
from plasm_core.batch.inputs import BatchInput
from plasm_core.batch.template import BatchInputError


def values(found: Iterable[BatchInput]) -> list[dict[str, str]]:
    return [dict(item.values) for item in found]


def written(directory: Path, text: bytes) -> str:
    path = directory / "inputs"
    path.write_bytes(text)
    return str(path)


def test_lines_come_with_and_without_an_end(tmp_path: Path) -> None:
    found = list(inputs.from_lines(written(tmp_path, b"a\r\n\nb \xff")))

    assert [item.stdin for item in found] == [b"a\n", b"\n", b"b \xff\n"]
    assert os.fsencode(found[2].values[""]) == b"b \xff"
    assert found[2].label.startswith("line 3 of ")


def test_a_line_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_LINE_BYTES", 10)

    with pytest.raises(BatchInputError, match=r"line 2 of .* has more than 10 bytes"):
        list(inputs.from_lines(written(tmp_path, b"a\n" + b"x" * 11)))


def test_lines_are_read_as_they_are_needed() -> None:
    """A file of any length costs no more memory than its longest line."""
    first = list(itertools.islice(inputs.lines_of("/dev/zero"), 0))

    assert first == []
    with pytest.raises(BatchInputError, match="line 1 of /dev/zero"):
        next(inputs.lines_of("/dev/zero"))


def test_a_directory_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="is a directory"):
        list(inputs.from_files([str(tmp_path)]))


def test_a_file_is_standard_input(tmp_path: Path) -> None:
    path = written(tmp_path, b"x")

    (found,) = inputs.from_files([path])

    assert found.stdin == Path(path)
    assert found.values["stem"] == "inputs"


@pytest.mark.parametrize(
    ("text", "expected"), [("3", ["0", "1", "2"]), ("1:3", ["1", "2"]), ("4:0:-2", ["4", "2"]), ("0", [])]
)
def test_a_range_is_as_python_has_it(text: str, expected: list[str]) -> None:
    assert [item.values[""] for item in inputs.from_range(text)] == expected


@pytest.mark.parametrize("text", ["", "a", "1:2:0", "1:2:3:4", "1-3", "99999999999999999999"])
def test_an_invalid_range_is_refused(text: str) -> None:
    with pytest.raises(BatchInputError, match="--range"):
        list(inputs.from_range(text))


def test_a_table_has_named_columns(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfseed,name\n1,"a,\nb"\n\n2,c\n')

    assert values(inputs.from_csv(path)) == [{"seed": "1", "name": "a,\nb"}, {"seed": "2", "name": "c"}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "no first row"),
        (b"a,a\n1,2\n", "not distinct"),
        (b"a,b\n1\n", "line 2 of .* has 1 columns, and the first row has 2"),
        (b"a\n\xff\n", "line 2 of .* is not UTF-8"),
        (b'a\n"x\n', "line 2 of "),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, text: bytes, problem: str) -> None:
    with pytest.raises(BatchInputError, match=problem):
        list(inputs.from_csv(written(tmp_path, text)))


def test_objects_give_fields(tmp_path: Path) -> None:
    found = values(inputs.from_jsonl(written(tmp_path, b'{"a": "x", "b": [1, 2]}\n\n')))

    assert found == [{"": '{"a": "x", "b": [1, 2]}', "a": "x", "b": "[1, 2]"}]


@pytest.mark.parametrize("text", [b"{}\n[]\n", b"{}\nx\n", b"{}\n" + b"[" * 100_000])
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(BatchInputError, match="line 2 of "):
        list(inputs.from_jsonl(written(tmp_path, text)))


def test_a_described_job_has_all_of_it(tmp_path: Path) -> None:
    (found,) = inputs.from_descriptions(
        written(tmp_path, b'{"name": "one", "args": ["a"], "stdin_base64": "/w==", "gas": 5}')
    )

    assert found.label.startswith("one (line 1 of ")
    assert found.stdin == b"\xff"
    assert found.description is not None
    assert found.description.gas == 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"arg": []}', "arg: unknown field"),
        (b'{"stdin": "a", "stdin_file": "b"}', "exclude each other"),
        (b'{"stdin_base64": "?"}', "base64"),
        (b'{"gas": 0}', "gas: expected an integer"),
        (b'{"stdin_file": "/nowhere/at/all"}', "there is no file /nowhere/at/all"),
        (b"nothing", "not JSON"),
    ],
)
def test_a_bad_description_is_refused_with_its_line(tmp_path: Path, text: bytes, problem: str) -> None:
    with pytest.raises(BatchInputError, match=f"line 1 of .*{problem}"):
        list(inputs.from_descriptions(written(tmp_path, text)))
