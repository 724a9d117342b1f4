"""What a token can make the server keep or copy is bounded in number, and not only in bytes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from plasm_core.client.upload import Bytes
from plasm_core.web.job_table import WebJobTable
from plasm_core.web.module_store import ModuleStore
from plasm_core.web.problems import ApiProblem
from plasm_core.web.submissions import submission_of
from plasm_core.web.uploads import Form


def test_modules_of_a_few_bytes_are_deleted_when_there_are_too_many(tmp_path: Path) -> None:
    table = WebJobTable(tmp_path / "state")
    directory = tmp_path / "modules"
    store = ModuleStore(table, directory, maximum=3)
    modules = [b"", b"1", b"2", b"3", b"4"]
    digests = [hashlib.sha256(module).hexdigest() for module in modules]

    for number, (module, digest) in enumerate(zip(modules, digests, strict=True)):
        assert store.put("one", Bytes(module))
        os.utime(directory / digest, (number, number))

    assert {path.name for path in directory.iterdir()} == set(digests[2:])
    assert [table.has_module("one", digest) for digest in digests] == [False, False, True, True, True]
    assert store.open("one", digests[0]) is None
    table.close()


def test_what_a_server_left_that_was_killed_while_it_wrote_is_deleted(tmp_path: Path) -> None:
    """It takes room that nobody counts."""
    table, directory = WebJobTable(tmp_path / "state"), tmp_path / "modules"
    store = ModuleStore(table, directory)
    store.put("one", Bytes(b"1"))
    (kept,) = directory.iterdir()
    left, under_way = directory / f"{kept.name}.17-7f0011223344", directory / ".0123.new"
    left.write_bytes(b"half a module")
    under_way.write_bytes(b"of another thread")
    os.utime(left, (0, 0))
    store.put("one", Bytes(b"2"))

    assert not left.exists()
    assert under_way.exists()
    table.close()


@pytest.mark.parametrize("item", ["", "x" * 100])
def test_more_arguments_than_a_node_takes_are_refused_before_they_are_copied(item: str) -> None:
    """Two million empty arguments are 6 MB of JSON, and sixteen in the list encoding."""
    described = json.dumps({"args": [item] * (300_000 if not item else 20_000)}).encode()

    with pytest.raises(ApiProblem, match="args and env") as caught:
        submission_of(Form(texts={"job": [described]}), Bytes(b"\0asm"))

    assert (caught.value.status, caught.value.code) == (413, "input_too_large")
