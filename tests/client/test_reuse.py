"""The same task is not run twice: verified results are kept, verified again, and given instead of a run."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plasm_core.client import Client
from plasm_core.client import result_cache as cached
from plasm_core.client.output import Buffer
from plasm_core.client.reputation_store import ReputationStore
from plasm_core.client.result_cache import ResultCache
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Manifest
from plasm_core.records.output import OutputStream
from tests.support.cli import HELLO as HELLO_PATH
from tests.support.cli import Plasm
from tests.support.daemon import Daemon
from tests.support.users import NOBODY
from tests.support.wat import FOREVER, starting

HELLO = Path(HELLO_PATH)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.start()
        yield daemon


@pytest.fixture
def results(started: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test. Returned is the directory of the results in it."""
    for name in ("PLASM_SOCKET", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, started.environ[name])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plasm" / "results"


@pytest.fixture
def client(results: Path) -> Iterator[Client]:
    with Client(reuse=True) as made:
        yield made


@pytest.fixture
def plasm(tmp_path: Path) -> Plasm:
    return Plasm(tmp_path)


def only(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_an_equal_task_is_not_run_twice(client: Client, results: Path) -> None:
    first = client.run(HELLO, stdin=b"abc")
    second = client.run(HELLO, stdin=b"abc", wall_time_s=7, attempts=2)  # neither is part of the task

    assert not first.reused
    assert second.reused
    assert second.envelope == first.envelope
    assert (second.stdout, second.stderr, second.outcome) == (first.stdout, first.stderr, first.outcome)
    assert second.verdict.sentence() == first.verdict.sentence()
    assert stat.S_IMODE(only(results).stat().st_mode) == 0o600
    assert stat.S_IMODE(results.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "terms",
    [{"stdin": b"abd"}, {"args": ["x"]}, {"env": {"A": "b"}}, {"gas": 10**9}, {"seed": "1" * 64}],
    ids=lambda terms: next(iter(terms)),
)
def test_another_task_is_run(client: Client, terms: dict[str, object]) -> None:
    client.run(HELLO, stdin=b"abc")

    assert not client.run(HELLO, **{"stdin": b"abc", **terms}).reused  # type: ignore[arg-type]


def test_nobody_who_has_not_asked_for_it_has_results_kept(client: Client, results: Path) -> None:
    with Client() as plain:
        plain.run(HELLO, stdin=b"abc")
        assert not results.exists()
        client.run(HELLO, stdin=b"abc")

        assert not plain.run(HELLO, stdin=b"abc").reused


def test_a_failure_that_the_task_fixes_is_kept_and_one_of_the_moment_is_not(client: Client) -> None:
    spinning = starting(FOREVER)
    for _ in range(2):
        out_of_gas = client.run(spinning, gas=10**6)
        timed_out = client.run(spinning, gas=10**15, wall_time_s=1)

    assert (out_of_gas.outcome.kind, out_of_gas.reused) == ("out_of_gas", True)
    assert (timed_out.outcome.kind, timed_out.reused) == ("timed_out", False)


def test_a_sink_receives_the_kept_output(client: Client) -> None:
    written = []
    for _ in range(2):
        sink = Buffer(1 << 20)
        result = client.run(HELLO, stdin=b"abc" * 50_000, sink=sink)
        target = io.BytesIO()
        sink.copy(OutputStream.STDOUT, target)
        written.append((target.getvalue(), result.stdout))
        sink.close()

    assert result.reused
    assert written == [(b"cba" * 50_000, b"")] * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"cba", b"cbb"),
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: b"{}\n",
        lambda data: data.replace(b'"sizes"', b'"sizer"', 1),
        lambda data: data.replace(b'"payload"', b'"payloae"', 1),
        lambda data: data.replace(b"plasm.reuse/v1", b"plasm.reuse/v0", 1),
        lambda data: b"[" * 100_000,
    ],
)
def test_an_entry_that_was_altered_is_run_again(
    client: Client, results: Path, change: Callable[[bytes], bytes]
) -> None:
    expected = client.run(HELLO, stdin=b"abc")
    changed(only(results), change)

    again = client.run(HELLO, stdin=b"abc")

    assert not again.reused
    assert again.stdout == expected.stdout
    assert client.run(HELLO, stdin=b"abc").reused  # the new result has taken its place


def test_the_result_of_another_task_is_not_taken_for_this_ones(client: Client, results: Path) -> None:
    client.run(HELLO, stdin=b"abc")
    other = only(results)
    client.run(HELLO, stdin=b"xyz")
    (mine,) = set(results.iterdir()) - {other}
    other.write_bytes(mine.read_bytes())

    again = client.run(HELLO, stdin=b"abc")

    assert (again.stdout, again.reused) == (b"cba", False)


def test_a_result_that_establishes_too_little_is_not_taken(client: Client) -> None:
    """A result that was run again on another engine also serves callers that require less."""
    client.run(HELLO, stdin=b"abc")
    with Client(reuse=True, verifier=["signature", "reexecute"], require="reexecution") as strict:
        first = strict.run(HELLO, stdin=b"abc")
        second = strict.run(HELLO, stdin=b"abc")

    assert not first.reused
    assert second.reused
    assert "re-execution" in second.verdict.established
    assert second.verdict.sentence() == first.verdict.sentence()
    assert client.run(HELLO, stdin=b"abc").reused


def test_a_verifier_with_other_settings_has_not_accepted_a_result(client: Client) -> None:
    """As a quorum of two nodes is none of five."""
    with Client(reuse=True, verifier=["signature", "reexecute"]) as strict:
        strict.run(HELLO, stdin=b"abc")
        manifest = Manifest.from_json(strict.run(HELLO, stdin=b"abc").earlier or b"")

    def is_found(**settings: object) -> bool:
        asked = [loading.create(Verifier, "signature", {}), loading.create(Verifier, "reexecute", settings)]  # type: ignore[type-abstract]
        return ResultCache().find(manifest, asked, require="signature") is not None

    assert is_found()
    assert not is_found(runtimes=["wasm3"])


def test_the_least_recently_used_entry_is_deleted_first(
    client: Client, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.run(HELLO, stdin=b"1")
    one_bytes = only(results).stat().st_size
    monkeypatch.setattr(cached, "MAX_BYTES", 2 * one_bytes + one_bytes // 2)
    client.run(HELLO, stdin=b"2")
    for age_s, path in enumerate(sorted(results.iterdir(), key=lambda path: path.stat().st_mtime)):
        os.utime(path, (1000 + age_s, 1000 + age_s))
    assert client.run(HELLO, stdin=b"1").reused
    client.run(HELLO, stdin=b"3")

    assert client.run(HELLO, stdin=b"1").reused
    assert not client.run(HELLO, stdin=b"2").reused


def test_a_large_output_is_not_kept(client: Client, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MAX_ENTRY_BYTES", 2)
    client.run(HELLO, stdin=b"abc")
    sink = Buffer(1 << 20)
    client.run(HELLO, stdin=b"abc", sink=sink)
    sink.close()

    assert not results.exists() or not list(results.iterdir())


def test_an_unwritable_cache_loses_no_result(client: Client, results: Path) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text("no directory")

    assert client.run(HELLO, stdin=b"abc").stdout == b"cba"
    assert not client.run(HELLO, stdin=b"abc").reused


def test_the_result_of_a_node_that_is_denied_by_now_is_not_taken(client: Client) -> None:
    signer = str(client.run(HELLO, stdin=b"abc").receipt.node)
    manifest = Manifest.from_json(client.run(HELLO, stdin=b"abc").earlier or b"")
    signature = loading.create(Verifier, "signature", {})  # type: ignore[type-abstract]

    assert ResultCache().find(manifest, [signature], require="signature") is not None
    assert ResultCache().find(manifest, [signature], require="signature", denied={signer}) is None


def of_a_stranger(entry: bytes) -> bytes:
    """Return an entry as a client of the network keeps it that was given the result by a node it does not know."""
    line, _, rest = entry.partition(b"\n")
    return json.dumps({**json.loads(line), "standing": "STRANGER"}).encode() + b"\n" + rest


def test_a_strangers_word_does_not_replace_a_run_of_ones_own(
    client: Client, results: Path, plasm: Plasm
) -> None:
    """Otherwise one false result from the network would be reused by each later run on this machine."""
    client.run(HELLO, stdin=b"abc")
    manifest = Manifest.from_json(client.run(HELLO, stdin=b"abc").earlier or b"")
    signature = loading.create(Verifier, "signature", {})  # type: ignore[type-abstract]
    changed(only(results), of_a_stranger)

    assert ResultCache().find(manifest, [signature], require="signature", strangers=True) is not None
    assert ResultCache().find(manifest, [signature], require="signature") is None
    assert not client.run(HELLO, stdin=b"abc").reused

    reused = plasm("run", "--reuse", HELLO_PATH, stdin=b"abc")
    changed(only(results), of_a_stranger)
    run = plasm("run", "--reuse", HELLO_PATH, stdin=b"abc")
    assert ("nothing was run" in reused.err, "nothing was run" in run.err) == (True, False)


def test_a_strangers_result_that_was_run_again_is_taken(client: Client, results: Path) -> None:
    with Client(reuse=True, verifier=["signature", "reexecute"], require="reexecution") as strict:
        strict.run(HELLO, stdin=b"abc")
    changed(only(results), of_a_stranger)

    assert client.run(HELLO, stdin=b"abc").reused


def test_the_result_of_a_node_that_was_convicted_since_is_not_taken(client: Client, tmp_path: Path) -> None:
    """A fraud proof about one task is a reason to doubt what that node signed before."""
    signer = client.run(HELLO, stdin=b"abc").receipt.node
    assert client.run(HELLO, stdin=b"abc").reused
    (tmp_path / "proof.json").write_text("{}")
    with ReputationStore() as store:
        store.convict(signer, tmp_path / "proof.json")
    try:
        with Client(reuse=True) as later:
            assert not later.run(HELLO, stdin=b"abc").reused
    finally:
        with ReputationStore() as store:
            store.forget([signer])


@pytest.mark.parametrize(
    "change",
    [
        lambda header: [header],
        lambda header: "plasm.reuse/v1",
        lambda header: None,
        lambda header: {**header, "sizes": [1 << 62, 1, 1, 1]},
        lambda header: {**header, "sizes": {"0": 1}},
        lambda header: {**header, "sizes": [True, True, True, True]},
        lambda header: {**header, "sizes": [-1, 1, 1, 1]},
        lambda header: {**header, "signer": 5},
        lambda header: {**header, "signer": "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"},
        lambda header: {**header, "standing": ["OWN"]},
        lambda header: {**header, "settings": 5},
        lambda header: {**header, "settings": [["a"]]},
        lambda header: {**header, "opinions": 5},
        lambda header: {**header, "opinions": [5]},
        lambda header: {**header, "opinions": [opinion(error=10**400)]},
        lambda header: {**header, "opinions": [opinion(error={})]},
        lambda header: {**header, "opinions": [opinion(signers=[5])]},
        lambda header: {**header, "opinions": [opinion(signers=["x"])]},
        lambda header: {**header, "opinions": [opinion(reasons=5)]},
        lambda header: {},
    ],
)
def test_a_header_that_was_made_up_is_not_believed(
    client: Client, results: Path, change: Callable[[Any], object]
) -> None:
    client.run(HELLO, stdin=b"abc")

    def altered(data: bytes) -> bytes:
        header, _, rest = data.partition(b"\n")
        return json.dumps(change(json.loads(header))).encode() + b"\n" + rest

    changed(only(results), altered)

    again = client.run(HELLO, stdin=b"abc")

    assert (again.stdout, again.reused) == (b"cba", False)


def opinion(**fields: object) -> dict[str, object]:
    """A verifier's opinion as an entry has it."""
    common = {"verifier": "quorum", "reasons": [], "established": ["quorum"], "signers": [], "checked": []}
    return {**common, "error": None, **fields}


@pytest.mark.parametrize("kind", ["pipe", "directory", "link to a device", "link to nowhere", "sparse"])
def test_a_file_that_is_no_cache_entry_is_not_read(client: Client, results: Path, kind: str) -> None:
    client.run(HELLO, stdin=b"abc")
    path = only(results)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else results / "none")

    again = client.run(HELLO, stdin=b"abc")

    assert (again.stdout, again.reused) == (b"cba", False)


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to give a file to another user")
@pytest.mark.parametrize("theirs", ["directory", "entry"])
def test_files_of_another_user_are_not_used(client: Client, results: Path, theirs: str) -> None:
    """Two users who share a cache directory: neither believes or reads the other's results."""
    client.run(HELLO, stdin=b"abc")
    os.chown(results if theirs == "directory" else only(results), NOBODY, NOBODY)

    again = client.run(HELLO, stdin=b"abc")

    assert (again.stdout, again.reused) == (b"cba", False)


def test_an_unusable_cache_is_reported_once(
    client: Client, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch would print a line for each of its jobs."""
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text("no directory")
    for number in range(3):
        client.run(HELLO, stdin=b"%d" % number)

    said = [item.getMessage() for item in caplog.records if item.name == cached.__name__]
    assert [line.partition(" task=")[0] for line in said] == ["kept result not usable", "result not kept"]


def test_a_full_disk_loses_no_result(client: Client, results: Path) -> None:
    """Half an entry is never read, and no draft is left."""
    client.run(HELLO, stdin=b"first")
    before = sorted(results.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # a write beyond it fails, as on a full disk
    try:
        found = client.run(HELLO, stdin=b"x" * 60_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert found.stdout == b"x" * 60_000
    assert sorted(results.iterdir()) == before


def test_the_command_line_says_that_nothing_was_run(plasm: Plasm, tmp_path: Path) -> None:
    receipt, manifest = tmp_path / "receipt.json", tmp_path / "manifest.json"
    first = plasm("run", "--reuse", HELLO_PATH, stdin=b"abc")
    kept = ("--receipt", str(receipt), "--manifest", str(manifest))
    second = plasm("run", "--reuse", "--limit", "wall=9s", *kept, HELLO_PATH, stdin=b"abc")
    verified = plasm("verify", str(receipt), "--manifest", str(manifest))
    shown = json.loads(plasm("run", "--reuse", "--json", HELLO_PATH, stdin=b"abc").out)
    plain = json.loads(plasm("run", "--json", HELLO_PATH, stdin=b"abc").out)

    assert "nothing was run" not in first.err
    assert (second.out, second.code) == (b"cba", 0)
    assert "nothing was run: this is the result of an equal task" in second.err
    assert verified.code == 0, verified.err
    assert (shown["reused"], plain["reused"]) == (True, False)


def test_a_batch_reuses_results_of_an_earlier_one(started: Daemon, tmp_path: Path) -> None:
    outputs, said = [], []
    for number, out in enumerate(("first", "second")):
        done = started.plasm(
            *("map", HELLO_PATH, "--range", str(3 + number), "--reuse", "--out", str(tmp_path / out)),
            *("--stdin-text", "value {}", "--limit", f"wall={20 + number}s"),
        )
        outputs.append(done.stdout)
        said.append(done.stderr.decode())
        started.plasm("verify", str(tmp_path / out / "batch.json"))

    receipts = [(tmp_path / out / "000001" / "receipt.json").read_bytes() for out in ("first", "second")]
    again = started.plasm(
        *(
            "map",
            HELLO_PATH,
            "--range",
            "5",
            "--reuse",
            "--stdin-text",
            "value {}",
            "--format",
            "jsonl",
            "--json",
        )
    )
    events = [json.loads(line) for line in again.stderr.splitlines()]

    assert "not run" not in said[0]
    assert "4 of 4 jobs succeeded" in said[1]
    assert "not run, since equal tasks had results before: 3" in said[1]
    assert [json.loads(line)["reused"] for line in again.stdout.splitlines()] == [True] * 4 + [False]
    assert sum(item["reused"] for item in events if item["event"] == "job") == 4
    assert outputs[1].startswith(outputs[0])
    assert receipts[0] == receipts[1]
    one = tmp_path / "second" / "000001"
    started.plasm("verify", str(one / "receipt.json"), "--manifest", str(one / "manifest.json"))
