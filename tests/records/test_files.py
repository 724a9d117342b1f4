"""The listing of a tree, the files of a manifest, and what a receipt says of them."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core import tree_listing
from plasm_core.errors import InvalidRecordError, ProtocolError
from plasm_core.protocol.messages import FROM_CLIENT
from plasm_core.protocol.messages import parse as parse_message
from plasm_core.records import Manifest, Outcome, Receipt, sha256
from plasm_core.records.files import FileLimits, JobFiles, Product
from plasm_core.records.manifest import PROFILE, PROFILE_V2
from plasm_core.sandbox.process.file_pack import parents
from plasm_core.testing.claims import receipt
from plasm_core.tree_listing import DIRECTORY, MAGIC, ListingError, TreeEntry, encode, parse
from tests.support.receipts import document, encoded, manifest
from tests.vectors import generate_files

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "files.json").read_text(encoding="utf-8")
)
FILES = JobFiles(
    tree="11" * 32,
    read_only=("in",),
    outputs=("out", "report.txt"),
    limits=FileLimits(data_bytes=1_000, entries=100, descriptors=16),
)
FILE, TREE = (
    Product(path="report.txt", kind="file", sha256="22" * 32),
    Product(path="out", kind="tree", sha256="33" * 32),
)


def with_files(**changes: Any) -> Manifest:
    return manifest(profile=PROFILE_V2, files=attrs.evolve(FILES, **changes))


def receipt_with(*products: Product, **changes: Any) -> Receipt:
    made = receipt(of=with_files(), **changes)
    result = attrs.evolve(made.result, gas_schedule="plasm.gas/v2")
    return attrs.evolve(made, result=result, files=products)


def test_a_manifest_with_files_comes_back_as_it_was() -> None:
    assert Manifest.from_json(with_files().to_json()) == with_files()


def test_a_manifest_without_files_says_nothing_of_them() -> None:
    assert b"files" not in manifest().to_json()
    assert manifest().profile == PROFILE


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"profile": PROFILE}, "", "files and an entry go with"),
        ({"files": None}, "files", "expected an object"),
        ({"files__tree": "11"}, "files.tree", "64 lower-case"),
        ({"files__outputs": ["../x"]}, "files.outputs", "relative paths"),
        ({"files__outputs": ["/x"]}, "files.outputs", "relative paths"),
        ({"files__outputs": ["x\n"]}, "files.outputs", "relative paths"),
        ({"files__outputs": ["x", "x"]}, "files.outputs", "distinct"),
        ({"files__outputs": ["x", "x/y"]}, "files", "lies in another"),
        ({"files__outputs": [".", "x"]}, "files", "lies in another"),
        ({"files__outputs": [f"{number}" for number in range(65)]}, "files.outputs", "at most 64"),
        ({"files__read_only": ["a//b"]}, "files.read_only", "relative paths"),
        ({"files__limits__data_bytes": 2**32 + 1}, "files.limits.data_bytes", "4294967296"),
        ({"files__limits__entries": 65_537}, "files.limits.entries", "65536"),
        ({"files__limits__descriptors": 3}, "files.limits.descriptors", "4"),
        ({"files__colour": "red"}, "files.colour", "unknown field"),
    ],
)
def test_errors_in_files_are_named(changes: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        Manifest.from_json(encoded(with_files().to_json(), **changes))

    assert [path for path, _ in caught.value.problems] == [where]
    assert what in caught.value.problems[0][1]


def test_a_manifest_with_an_entry_comes_back_as_it_was() -> None:
    made = manifest(profile=PROFILE_V2, entry="run")

    assert Manifest.from_json(made.to_json()) == made
    assert b"files" not in made.to_json()


def test_an_entry_is_part_of_the_task() -> None:
    entries = [manifest(profile=PROFILE_V2, entry=name).task_digest for name in ("a", "b")]
    both = [with_files().task_digest, manifest(profile=PROFILE_V2, entry="a", files=FILES).task_digest]

    assert len({manifest().task_digest, *entries, *both}) == 5


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"profile": PROFILE}, "", "files and an entry go with"),
        ({"entry": None}, "entry", "expected the name of an export"),
        ({"entry": ""}, "entry", "expected the name of an export"),
        ({"entry": "_start"}, "entry", "other than _start and _initialize"),
        ({"entry": "_initialize"}, "entry", "other than _start and _initialize"),
        ({"entry": "a\nb"}, "entry", "expected the name of an export"),
        ({"entry": "é" * 128}, "entry", "at most 255 bytes"),
        ({"entry": 7}, "entry", "expected the name of an export"),
    ],
)
def test_errors_in_an_entry_are_named(changes: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        Manifest.from_json(encoded(manifest(profile=PROFILE_V2, entry="run").to_json(), **changes))

    assert [path for path, _ in caught.value.problems] == [where]
    assert what in caught.value.problems[0][1]


def test_a_receipt_restates_the_entry() -> None:
    made = receipt(of=manifest(profile=PROFILE_V2, entry="run"))
    stated = attrs.evolve(made, result=attrs.evolve(made.result, gas_schedule="plasm.gas/v2"))

    assert Receipt.from_statement(stated.to_statement()) == stated
    for changes in ({"predicate__asked__entry": "other"}, {"predicate__asked__entry": ...}):
        with pytest.raises(InvalidRecordError):
            Receipt.from_statement(encoded(stated.to_statement(), **changes))


@pytest.mark.parametrize("vector", VECTORS["entry_tasks"], ids=lambda vector: str(vector["name"]))
def test_task_digests_with_an_entry_are_those_of_the_vectors(vector: Any) -> None:
    assert Manifest.from_json(json.dumps(vector["manifest"]).encode()).task_digest == vector["task_digest"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tree": "22" * 32},
        {"read_only": ()},
        {"outputs": ("out",)},
        *(
            {"limits": attrs.evolve(FILES.limits, **{name: 50})}
            for name in ("data_bytes", "entries", "descriptors")
        ),
    ],
)
def test_each_field_is_part_of_the_task(changes: dict[str, Any]) -> None:
    assert with_files(**changes).task_digest != with_files().task_digest


def test_a_receipt_states_what_a_job_left() -> None:
    stated = receipt_with(TREE, FILE)
    names = [subject["name"] for subject in json.loads(stated.to_statement())["subject"]]

    assert names == ["stdout", "stderr", "tree:out", "file:report.txt"]
    assert Receipt.from_statement(stated.to_statement()) == stated


@pytest.mark.parametrize(
    "changes",
    [
        {"subject__2__name": "tree:other"},
        {"subject__2__name": "file:report.txt"},
        {"subject__2__name": "link:out"},
        {"subject__2__name": "stdout"},
        {"predicate__asked__files__tree": "44" * 32},
        {"predicate__asked__files__limits__entries": "101"},
        {"predicate__asked__files__outputs": ["out", "report.txt", "x"]},
        {"predicate__asked__files": ...},
        {"predicate__asked__profile": PROFILE},
        {"predicate__result__gasSchedule": "plasm.gas/v1"},
        {"predicate__result__outcome": {"kind": "timed_out"}},
    ],
)
def test_a_statement_that_says_otherwise_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError):
        Receipt.from_statement(encoded(receipt_with(TREE, FILE).to_statement(), **changes))


def test_a_receipt_without_files_has_no_other_subject() -> None:
    value = document(receipt().to_statement())
    value["subject"].append({"name": "file:x", "digest": {"sha256": "00" * 32}})

    with pytest.raises(InvalidRecordError):
        Receipt.from_statement(json.dumps(value).encode())


def test_a_job_that_trapped_leaves_files() -> None:
    trapped = Outcome(kind="trapped", trap="unreachable")

    assert Receipt.from_statement(receipt_with(FILE, outcome=trapped).to_statement()).files == (FILE,)


# -- listings


def test_paths_of_messages_are_not_kept() -> None:
    """A client of the network may send 128 KiB as a path, as often as it likes: they filled the cache of paths."""
    bodies = (f'{{"type": "fetch", "path": "{number:06}{"x" * 100_000}"}}'.encode() for number in range(300))
    tracemalloc.start()
    try:
        for body in bodies:
            with pytest.raises(ProtocolError, match="path: expected a relative path"):
                parse_message(body, FROM_CLIENT)
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < 2_000_000


def test_the_vectors_are_what_the_page_makes_of_them() -> None:
    assert json.loads(json.dumps(generate_files.document())) == VECTORS


@pytest.mark.parametrize("vector", VECTORS["listings"], ids=lambda vector: vector["name"])
def test_a_listing_has_one_encoding_and_its_digest(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["listing_hex"])

    assert encode(parse(data)) == data
    assert sha256(data) == vector["sha256"]


@pytest.mark.parametrize("vector", VECTORS["refused_listings"], ids=lambda vector: vector["name"])
def test_an_invalid_listing_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ListingError):
        parse(bytes.fromhex(vector["listing_hex"]))


@pytest.mark.parametrize("vector", VECTORS["tasks"], ids=lambda vector: vector["name"])
def test_a_task_with_files_has_its_digest(vector: dict[str, Any]) -> None:
    assert Manifest.from_json(json.dumps(vector["manifest"]).encode()).task_digest == vector["task_digest"]


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_listing_or_an_error(data: bytes, begun: bool) -> None:
    data = MAGIC + data if begun else data
    try:
        entries = parse(data)
    except ListingError:
        return

    assert encode(entries) == data


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_damaged_listing_is_a_different_one_or_refused(data: st.DataObject) -> None:
    whole = bytearray(bytes.fromhex(VECTORS["listings"][-1]["listing_hex"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        entries = parse(bytes(whole))
    except ListingError:
        return

    assert encode(entries) == bytes(whole)


def _lines_to_read(directory: bytes) -> int:
    """Return how many lines of code are executed for each entry of a listing: 100 files in one directory."""
    entries = [TreeEntry(path, DIRECTORY) for path in (*parents(directory), directory)]
    entries += [
        TreeEntry(directory + b"/f%03d" % number, tree_listing.FILE, digest=bytes(32))
        for number in range(100)
    ]
    data, executed, before = encode(entries), 0, sys.gettrace()

    def count(_frame: object, event: str, _argument: object) -> Any:
        nonlocal executed
        executed += event == "line"
        return count

    sys.settrace(count)
    try:
        assert len(parse(data)) == len(entries)
    finally:
        sys.settrace(before)
    return executed // len(entries)


def test_deep_directories_make_no_entry_of_a_listing_costly() -> None:
    flat, deep = _lines_to_read(b"d"), _lines_to_read(b"/".join([b"d"] * 300))

    assert deep <= 2 * flat


@pytest.mark.parametrize(
    "path", [b"/", b"/a", b"d/", b"d//a", b"d/.", b"d/..", b"d/a/../b", b"d/\xff", b"d/\0"]
)
def test_no_path_of_a_listing_leads_outside_its_directory(path: bytes) -> None:
    entries = b"".join(
        bytes((DIRECTORY,)) + len(item).to_bytes(4, "little") + item for item in sorted((b"d", path))
    )

    with pytest.raises(ListingError):
        parse(MAGIC + entries)
