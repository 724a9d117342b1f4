"""Hold `--json` of every command to one naming and one shape: programs read them all."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from plasm_core.cli.commands import cli
from tests.daemon.conftest import HELLO
from tests.support.daemon import Daemon

NAME = re.compile(r"[a-z][a-zA-Z0-9]*")
OUTCOME = {"kind", "code", "trap", "detail"}
RECORDS = frozenset({("receipt", "show"), ("peers",)})
"""These show a signed record, unchanged: its names are the record's."""
TABLE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("address",): (),
    ("batch", "list"): (),
    ("batch", "retry-failed"): ("BATCH", "--format", "none"),
    ("batch", "status"): ("BATCH",),
    ("cancel",): ("HANDLE",),
    ("demo",): ("--directory", "DIRECTORY"),
    ("doctor",): (),
    ("files",): ("HANDLE",),
    ("inspect",): ("MODULE",),
    ("jobs",): (),
    ("key", "new"): ("--set", "KEY"),
    ("key", "show"): (),
    ("map",): ("MODULE", "--range", "2", "--out", "OUT", "--format", "none", "--", "{}"),
    ("peers",): ("--timeout", "0.1s"),
    ("plugins",): (),
    ("receipt", "show"): ("RECEIPT",),
    ("release",): ("ENDED",),
    ("reputation", "audit"): (),
    ("reputation", "show"): (),
    ("result",): ("HANDLE",),
    ("run",): ("MODULE",),
    ("status",): ("HANDLE",),
    ("submit",): ("MODULE",),
    ("verify",): ("RECEIPT",),
    ("wait",): ("HANDLE",),
    ("web", "token", "list"): (),
}
"""The arguments of each command; capitals stand for what the test makes."""
ELSEWHERE = frozenset({("deny",)})
"""It takes a proof of fraud: tests/cli/test_fraud.py holds its names."""
OTHERS = (
    (("jobs",), ("--all",)),
    (("jobs",), ("--doubtful",)),
    (("verify",), ("BATCH_RECEIPT",)),
    (("verify",), ("BUNDLE",)),
)
"""Further ways of commands."""


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the commands that have --json."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))
    elif any("--json" in parameter.opts for parameter in command.params):
        yield path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on the network."""
    pytest.importorskip("libp2p")
    listen = 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]'
    with Daemon(tmp_path_factory.mktemp("node"), "--transport", "local,libp2p", "--set", listen) as made:
        made.start("ready peer=")
        yield made


@pytest.fixture(scope="module")
def made(node: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the capitals of the table stand for."""
    here = tmp_path_factory.mktemp("made")
    receipt, batch, bundle = here / "receipt.json", here / "batch", here / "bundle.zip"
    words = {
        "MODULE": str(HELLO),
        "RECEIPT": str(receipt),
        "BATCH": str(batch),
        "BATCH_RECEIPT": str(here / "out" / "batch.json"),
        "BUNDLE": str(bundle),
        "DIRECTORY": str(here / "demo"),
        "KEY": f"signer.ed25519.key={here / 'another.key'}",
        "OUT": str(here / "more"),
    }
    for name in ("HANDLE", "ENDED"):
        words[name] = node.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()
        node.plasm("wait", words[name])
    node.plasm("run", str(HELLO), "--receipt", str(receipt), stdin=b"abc")
    node.plasm(
        "map", str(HELLO), "--range", "2", "--batch", str(batch), "--out", str(here / "out"), "--", "{}"
    )
    if importlib.util.find_spec("rocrate") is not None:
        (here / "in").write_bytes(b"abc")
        (here / "stdout").write_bytes(b"cba")
        node.plasm(
            *("bundle", str(receipt), str(HELLO), str(here / "in"), str(here / "stdout"), "-o", str(bundle))
        )
    return words


def test_the_table_has_every_command_with_json() -> None:
    assert set(commands(cli)) == ELSEWHERE.union(TABLE)


def shown(node: Daemon, made: dict[str, str], command: tuple[str, ...], given: tuple[str, ...]) -> list[Any]:
    """Run a command, and return the documents that it prints."""
    words = [made.get(word, word) for word in given]
    done = node.plasm(*command, "--json", *words, check=False)
    if command in (("map",), ("batch", "retry-failed")):  # a line for each event
        return [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout, done.stderr
    return [json.loads(done.stdout)]


def walk(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield each member of a document: its place, name and value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}", name, inner
            yield from walk(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path)


def faults(document: Any) -> list[str]:
    """Return what is not as in all other documents."""
    found = []
    for place, name, value in walk(document):
        if place.startswith((".runtimes.", ".flags.", ".capabilities.")):
            continue  # names of engines; a signed record
        if not NAME.fullmatch(name):
            found.append(f"{place}: not in camel case")
        if name in ("peer", "peer_id", "id"):
            found.append(f"{place}: a PeerId is a peerId, a job's id a jobId")
        if name == "outcome" and value is not None and set(value) != OUTCOME:
            found.append(f"{place}: an outcome has {OUTCOME}, not {value}")
        if name == "handle":
            found.append(f"{place}: a secret that nobody asked for")
        if name.endswith("At") and value is not None and not re.fullmatch(r"[\d-]{10}T[\d:.]{8,}Z", value):
            found.append(f"{place}: not a moment in UTC: {value}")
        if name in ("seconds", "duration", "time"):
            found.append(f"{place}: a time without its unit")
    return found


@pytest.mark.parametrize("command", sorted(set(TABLE) - RECORDS), ids="-".join)
def test_every_command_has_one_naming_and_one_shape_of_outcomes(
    node: Daemon, made: dict[str, str], command: tuple[str, ...]
) -> None:
    documents = shown(node, made, command, TABLE[command])
    if command == ("submit",):
        assert documents[0].pop("handle").startswith("phase0-")  # it is what was asked for

    assert documents
    assert [fault for document in documents for fault in faults(document)] == []


@pytest.mark.parametrize(
    ("command", "given"), OTHERS, ids=["jobs-all", "jobs-doubtful", "verify-batch", "verify-bundle"]
)
def test_so_have_their_other_ways(
    node: Daemon, made: dict[str, str], command: tuple[str, ...], given: tuple[str, ...]
) -> None:
    (document,) = shown(node, made, command, given)

    assert faults(document) == []


def test_a_batchs_results_have_the_same_shape(node: Daemon) -> None:
    done = node.plasm("map", str(HELLO), "--range", "1", "--format", "jsonl", "--", "{}")
    (result,) = map(json.loads, done.stdout.splitlines())

    assert faults(result) == []
    assert result["outcome"] == {"kind": "exited", "code": 0, "trap": None, "detail": None}
    assert isinstance(result["gasUsed"], int)


def test_lists_of_jobs_have_one_shape(node: Daemon, made: dict[str, str]) -> None:
    own = shown(node, made, ("jobs",), ())[0]["jobs"]
    everybodys = shown(node, made, ("jobs",), ("--all",))[0]["jobs"]

    same = {"jobId", "moduleName", "state", "outcome"}
    assert same <= set(own[0])
    assert same <= set(everybodys[0])
    with_handles = shown(node, made, ("jobs",), ("--handles",))[0]["jobs"]
    assert [job["handle"][:7] for job in with_handles] == ["phase0-"] * len(own)


def test_the_test_of_shapes_finds_wrong_shapes() -> None:
    """Otherwise the other tests here would prove nothing."""
    wrong = {
        "size_bytes": 1,
        "peer": "12D3",
        "outcome": {"kind": "exited"},
        "jobs": [{"handle": "phase0-x", "acceptedAt": "2026-01-01T00:00:00+00:00", "seconds": 1}],
    }

    assert len(faults(wrong)) == 6
