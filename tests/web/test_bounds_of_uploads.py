"""What a token can make the server keep or copy is bounded in number, and not only in bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from plasm_core.client.upload import Bytes
from plasm_core.web.forms import Form
from plasm_core.web.job_table import SentKind, WebJobTable
from plasm_core.web.problems import ApiProblem
from plasm_core.web.sent_store import MODULES, SentStore
from plasm_core.web.submissions import submission_of


def test_modules_of_a_few_bytes_are_deleted_when_there_are_too_many(tmp_path: Path) -> None:
    table = WebJobTable(tmp_path / "state")
    directory = tmp_path / "modules"
    store = SentStore(table, MODULES.within(maximum=3), directory)
    modules = [b"", b"1", b"2", b"3", b"4"]
    digests = [hashlib.sha256(module).hexdigest() for module in modules]

    for number, (module, digest) in enumerate(zip(modules, digests, strict=True)):
        assert store.put("one", Bytes(module))
        os.utime(directory / digest, (number, number))

    assert {path.name for path in directory.iterdir()} == set(digests[2:])
    assert [table.has_sent(SentKind.MODULE, "one", digest) for digest in digests] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert store.open("one", digests[0]) is None
    table.close()


def modules_of(store: SentStore, owner: str, names: Iterable[object], *, size_bytes: int = 10) -> list[str]:
    """Have a token send modules, one after the other."""
    digests = []
    for number, name in enumerate(names):
        module = f"{owner} {name}".encode().ljust(size_bytes)
        digests.append(hashlib.sha256(module).hexdigest())
        store.put(owner, Bytes(module))
        os.utime(store._directory / digests[-1], (number, number))
    return digests


def kept(store: SentStore, owner: str, digests: list[str]) -> list[bool]:
    found = []
    for digest in digests:
        module = store.open(owner, digest)
        found.append(module is not None)
        if module is not None:
            module.close()
    return found


@pytest.mark.parametrize("bounds", [{"maximum": 6}, {"maximum_bytes": 60}])
def test_one_token_pushes_out_its_own_modules_only(tmp_path: Path, bounds: dict[str, int]) -> None:
    """The modules of others were deleted, the longest unused first, for bytes that cost their sender nothing."""
    table = WebJobTable(tmp_path / "state")
    store = SentStore(table, MODULES.within(**bounds), tmp_path / "modules")
    quiet = modules_of(store, "quiet", range(2))
    greedy = modules_of(store, "greedy", range(10, 30))

    assert kept(store, "quiet", quiet) == [True, True]
    assert kept(store, "greedy", greedy) == [False] * 16 + [True] * 4
    table.close()


def test_a_few_large_modules_push_out_no_others(tmp_path: Path) -> None:
    table = WebJobTable(tmp_path / "state")
    store = SentStore(table, MODULES.within(maximum_bytes=1_000), tmp_path / "modules")
    small = modules_of(store, "small", range(5))
    large = modules_of(store, "large", range(10, 16), size_bytes=300)

    assert kept(store, "small", small) == [True] * 5
    assert kept(store, "large", large) == [False] * 3 + [True] * 3
    table.close()


def test_a_module_that_two_tokens_have_sent_stays_for_the_one_with_less(tmp_path: Path) -> None:
    table = WebJobTable(tmp_path / "state")
    store = SentStore(table, MODULES.within(maximum=4), tmp_path / "modules")
    digest = hashlib.sha256(b"shared").hexdigest()
    for owner in ("quiet", "greedy"):
        store.put(owner, Bytes(b"shared"))
    os.utime(tmp_path / "modules" / digest, (0, 0))
    modules_of(store, "greedy", range(10))

    assert (kept(store, "quiet", [digest]), kept(store, "greedy", [digest])) == ([True], [False])
    table.close()


def test_modules_that_no_token_has_sent_go_first(tmp_path: Path) -> None:
    """As after a table that was moved away."""
    table, directory = WebJobTable(tmp_path / "state"), tmp_path / "modules"
    store = SentStore(table, MODULES.within(maximum=3), directory)
    mine = modules_of(store, "one", range(2))
    (directory / ("0" * 64)).write_bytes(b"left over")
    mine += modules_of(store, "one", [2])

    assert kept(store, "one", mine) == [True] * 3
    assert not (directory / ("0" * 64)).exists()
    table.close()


def test_files_of_a_server_killed_while_writing_are_deleted(tmp_path: Path) -> None:
    """It takes space that no quota counts."""
    table, directory = WebJobTable(tmp_path / "state"), tmp_path / "modules"
    store = SentStore(table, MODULES, directory)
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
