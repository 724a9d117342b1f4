"""What a client has learnt of nodes outlives crashes, is shared by its processes, and stays bounded."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest

from plasm_core.client import reputation_database, reputation_store
from plasm_core.client.reputation_store import AcceptedResult, Lesson, ReputationStore
from plasm_core.errors import StorageError
from plasm_core.records import PeerId
from plasm_core.records.credibility import LIARS, node_error
from plasm_core.testing.claims import SeedSigner

PEERS = [SeedSigner(number.to_bytes(2, "big") * 16).peer_id for number in range(1, 41)]
A, B, C = PEERS[:3]
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Clock:
    """Seconds since 1970 that a test sets forward."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


def result(
    peer: PeerId, number: int, *, due: datetime | None = None, state: str = "unchecked"
) -> AcceptedResult:
    return AcceptedResult(
        peer=peer,
        job_id=f"{number:064x}",
        received_at=NOW,
        state=state,
        due_at=due,
        manifest_json=b"{}",
        envelope_json=b"{}",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "reputation.db"


def test_a_node_of_which_nothing_is_known_has_an_empty_history(path: Path) -> None:
    with ReputationStore(path) as store:
        found = store.find(A)

    assert (found.peer, found.checked, found.trust, found.is_convicted, found.is_new) == (
        A,
        0,
        0,
        False,
        True,
    )


def test_records_are_there_when_the_store_is_opened_again(path: Path) -> None:
    clock = Clock()
    with ReputationStore(path, clock=clock) as store:
        store.learn(
            [Lesson(peer=A, accepted=1, checked=1, network="n"), Lesson(peer=B, failed=1, network="n")]
        )
        clock.now += 60
        store.learn([Lesson(peer=A, accepted=1)])

    with ReputationStore(path, clock=clock) as store:
        a, b = store.find(A), store.find(B)

    assert (a.accepted, a.checked, a.failed, a.network, a.network_nodes) == (2, 1, 0, "n", 2)
    assert (a.first_seen, a.last_seen) == (NOW, NOW + timedelta(seconds=60))
    assert (b.failed, b.trust, b.is_new) == (1, 0.0, False)


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    with ReputationStore(path) as store:
        store.learn([Lesson(peer=A, checked=1)])
        modes = {item.name: item.stat().st_mode & 0o777 for item in path.parent.iterdir()}

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_a_check_counts_half_after_30_days_and_nothing_after_a_failure(path: Path) -> None:
    clock = Clock()
    with ReputationStore(path, clock=clock) as store:
        store.learn([Lesson(peer=A, checked=8)])
        clock.now += reputation_store.HALF_LIFE_S
        assert store.find(A).trust == pytest.approx(4)
        store.learn([Lesson(peer=A, checked=1)])
        assert store.find(A).trust == pytest.approx(5)
        store.learn([Lesson(peer=A, failed=1)])

        assert (store.find(A).trust, store.find(A).checked) == (0, 9)


def test_one_check_counts_for_more_than_a_second(path: Path) -> None:
    """Its weight is a little below 1 then: a client whose nodes were split one to four never got its next job done."""
    clock = Clock()
    with ReputationStore(path, clock=clock) as store:
        store.learn([Lesson(peer=A, failed=1)])
        store.learn([Lesson(peer=A, checked=1), Lesson(peer=B, failed=1)])
        clock.now += 1
        a, b = store.find(A), store.find(B)

    assert (a.is_outvoted, b.is_outvoted) == (False, True)
    assert node_error(a) == pytest.approx(node_error(attrs.evolve(a, trust=1.0)))
    assert node_error(a) < node_error(b) == LIARS


def test_a_conviction_is_permanent_and_keeps_its_first_proof(path: Path) -> None:
    clock = Clock()
    with ReputationStore(path, clock=clock) as store:
        store.learn([Lesson(peer=A, checked=50)])
        store.convict(A, Path("/proofs/one.zip"), network="n")
        clock.now += 1000 * 86_400
        store.convict(A, Path("/proofs/two.zip"))
        store.learn([Lesson(peer=A, checked=50), Lesson(peer=B, network="n")])
        store.forget()
        found = store.find(A)

    assert (found.is_convicted, found.proof, found.convicted_at) == (True, Path("/proofs/one.zip"), NOW)
    assert found.network_convicted == 1


def test_earlier_unchecked_results_of_a_convicted_node_are_doubtful(path: Path) -> None:
    with ReputationStore(path) as store:
        store.learn([], [result(A, 1), result(A, 2), result(A, 3, state="checked"), result(B, 4)])
        assert store.doubtful() == []
        store.convict(A, Path("/proofs/one.zip"))
        assert [item.job_id for item in store.doubtful()] == [f"{1:064x}", f"{2:064x}"]
        store.settle(A, f"{1:064x}", is_right=True)
        store.settle(A, f"{2:064x}", is_right=False)

        assert [(item.job_id, item.state) for item in store.doubtful()] == [(f"{2:064x}", "wrong")]


def test_an_audit_that_is_due_is_taken_once(path: Path) -> None:
    clock = Clock()
    with ReputationStore(path, clock=clock) as store, ReputationStore(path, clock=clock) as other:
        store.learn([], [result(A, 1, due=NOW + timedelta(seconds=100))])
        assert (store.due(), store.next_due()) == ([], 100)
        clock.now += 101
        (due,) = other.due()
        assert store.next_due() == 0

        assert store.claim_audit(due, again_at=None)
        assert not other.claim_audit(due, again_at=None)
        assert store.next_due() is None


def test_forgetting_a_node_forgets_its_results(path: Path) -> None:
    with ReputationStore(path) as store:
        store.learn([Lesson(peer=A, checked=1), Lesson(peer=B, checked=1)], [result(A, 1)])
        store.convict(A, Path("/proofs/one.zip"))

        assert store.forget([A, C]) == 1
        assert [item.peer for item in store.nodes()] == [B]
        assert store.doubtful() == []


def test_hostile_nodes_cannot_make_it_grow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys cost nothing: a node that was never checked goes before one that was."""
    monkeypatch.setattr(reputation_store, "MAX_NODES", 10)
    monkeypatch.setattr(reputation_store, "MAX_CONVICTED", 5)
    monkeypatch.setattr(reputation_store, "MAX_RESULTS", 7)
    monkeypatch.setattr(reputation_store, "_EVICT_EVERY", 2)
    clock = Clock()
    with ReputationStore(path, clock=clock) as store:
        store.learn([Lesson(peer=A, checked=3)])
        for number, peer in enumerate(PEERS[1:30]):
            clock.now += 1
            store.learn([Lesson(peer=peer, accepted=1)], [result(peer, number)])
        for peer in PEERS[30:]:
            clock.now += 1
            store.convict(peer, Path("/proofs/one.zip"))
        store.learn([])
        store.learn([])
        found = store.nodes()

        assert sum(item.is_convicted for item in found) == 5
        assert sum(not item.is_convicted for item in found) == 10
        assert store.find(A).checked == 3
        assert len(store._query("SELECT id FROM results")) == 7


def test_an_endless_receipt_is_not_kept(path: Path) -> None:
    long = AcceptedResult(
        peer=A,
        job_id="0" * 64,
        received_at=NOW,
        state="unchecked",
        due_at=None,
        manifest_json=b"{}",
        envelope_json=b"x" * (reputation_store.MAX_RESULT_BYTES + 1),
    )
    with ReputationStore(path) as store:
        store.learn([], [long])
        store.convict(A, Path("/proofs/one.zip"))

        assert store.doubtful() == []


def test_kept_receipts_are_bounded_by_their_bytes_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reputation_store, "MAX_RESULTS_BYTES", 10)
    monkeypatch.setattr(reputation_store, "_EVICT_EVERY", 2)
    with ReputationStore(path) as store:
        for number in range(9):
            store.learn([], [result(A, number)])
        store.learn([])
        store.learn([])
        assert len(store._query("SELECT id FROM results")) == 2  # of four bytes each


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be read as one" * 100])
def test_a_file_that_is_no_database_is_an_error_with_a_remedy_and_is_kept(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    if not content:
        ReputationStore(path).close()  # an empty file is what a killed process leaves before it has begun
        return
    with pytest.raises(StorageError, match=r"cannot open.*reputation\.db") as caught:
        ReputationStore(path)

    assert "move it away" in (caught.value.hint or "")
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_not_changed(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    with pytest.raises(StorageError, match="another program"):
        ReputationStore(path)


def test_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    (tmp_path / "elsewhere").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        ReputationStore(path)


def test_many_threads_and_stores_lose_no_lesson(path: Path) -> None:
    with ReputationStore(path) as one, ReputationStore(path) as other, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda store: store.learn([Lesson(peer=A, checked=1)]), [one, other] * 100))
        assert one.find(A).checked == 200


_WRITER = """
import sys
from pathlib import Path
from plasm_core.client.reputation_store import Lesson, ReputationStore
from plasm_core.testing.claims import SeedSigner
a, b = (SeedSigner(bytes([n]) * 32).peer_id for n in (1, 2))
with ReputationStore(Path(sys.argv[1])) as store:
    print("open", flush=True)
    while True:
        store.learn([Lesson(peer=a, checked=1), Lesson(peer=b, checked=1)])
        print("learnt", flush=True)
"""


def test_it_survives_a_kill_at_any_moment_while_another_writes(path: Path) -> None:
    """Both records of a transaction exist or neither does, and acknowledged ones stay."""
    a, b = (SeedSigner(bytes([number]) * 32).peer_id for number in (1, 2))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    confirmed = 0
    for lines in (1, 2, 3, 7, 20, 50):
        running = [
            subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, env=environ)
            for _ in range(2)
        ]
        for process in running:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        for process in running:
            rest = process.communicate()[0]
            confirmed += max(0, lines - 1) + rest.count(b"learnt\n")
        with ReputationStore(path) as store:
            assert store.find(a).checked == store.find(b).checked >= confirmed
            assert store._query("PRAGMA integrity_check") == [("ok",)]


_CONVICTING = """
import sys
from pathlib import Path
from plasm_core.client.reputation_store import Lesson, ReputationStore
from plasm_core.testing.claims import SeedSigner
with ReputationStore(Path(sys.argv[1])) as store:
    for number in range(1, 60_000):
        peer = SeedSigner(number.to_bytes(2, "big") * 16).peer_id
        store.convict(peer, Path("/proofs/one.zip"), network="n")
        store.learn([Lesson(peer=peer, checked=1)])
        print(number, flush=True)
"""


def test_a_conviction_that_was_noted_survives_a_kill(path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    noted = 0
    for lines in (1, 5, 20):
        with subprocess.Popen(
            [sys.executable, "-c", _CONVICTING, path], stdout=subprocess.PIPE, env=environ
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
            noted = max(noted, lines, *(int(line) for line in rest[:-1] or [b"0"]))
        with ReputationStore(path) as store:
            assert sum(item.is_convicted for item in store.nodes()) >= noted
            assert store.network("n")[0] == store.network("n")[1]
            assert store._query("PRAGMA integrity_check") == [("ok",)]


def test_a_kill_while_it_is_opened_or_made_leaves_one_that_opens(tmp_path: Path) -> None:
    """Two processes make it at once, and both are killed at a random moment after they were started."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for attempt in range(4):
        path = tmp_path / f"private-{attempt}" / "reputation.db"
        running = [
            subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.DEVNULL, env=environ)
            for _ in range(2)
        ]
        deadline = time.monotonic() + 60
        while not path.parent.exists():  # the interpreter starts: nothing of it can be half made
            assert time.monotonic() < deadline
        moment = time.monotonic() + random.uniform(0, 0.05)
        while time.monotonic() < moment:
            pass
        for process in running:
            process.kill()
            process.wait()
        with ReputationStore(path) as store:
            store.learn([Lesson(peer=C, checked=1)])
            assert store.find(C).checked == 1
            assert store._query("PRAGMA integrity_check") == [("ok",)]


def test_a_flood_of_keys_proofs_and_long_receipts_stays_below_the_stated_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything at a hundredth of its real bound, so that all of it is reached; the file's is never.

    What is over a bound for at most 64 writes is scaled too, to two.
    """
    monkeypatch.setattr(reputation_store, "_EVICT_EVERY", 2)
    monkeypatch.setattr(reputation_database, "MAX_FILE_BYTES", reputation_database.MAX_FILE_BYTES // 100)
    for name in ("MAX_NODES", "MAX_CONVICTED", "MAX_RESULTS", "MAX_RESULTS_BYTES"):
        monkeypatch.setattr(reputation_store, name, getattr(reputation_store, name) // 100)
    long = b"x" * reputation_store.MAX_RESULT_BYTES
    keys = [SeedSigner(number.to_bytes(2, "big") * 16).peer_id for number in range(1, 2_000)]
    proof = Path("/" + "p" * 200)
    with ReputationStore(path) as store:
        store.learn([Lesson(peer=A, checked=5)])
        for number, peer in enumerate(keys[3:500]):
            received = attrs.evolve(result(peer, number), manifest_json=long, envelope_json=long)
            store.learn([Lesson(peer=peer, accepted=1, network="n" * 300)], [received])
        for peer in keys[500:]:
            store.convict(peer, proof, network="n" * 300)
        for _ in range(64):
            store.learn([Lesson(peer=A, checked=1)])
        sizes = {item.name: item.stat().st_size for item in path.parent.iterdir()}
        found = store.nodes()

    assert sizes["reputation.db"] <= reputation_database.MAX_FILE_BYTES == (256 << 20) // 100
    assert sum(sizes.values()) - sizes["reputation.db"] <= 16 << 20, sizes  # the write-ahead log
    assert sum(item.is_convicted for item in found) == 1_000
    assert sum(not item.is_convicted for item in found) <= 100
    assert store.path == path
    assert {item.peer: item.checked for item in found}[A] == 69


def test_a_full_file_makes_room_and_notes_a_conviction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write is an error, and the next write first deletes the records beyond the bounds."""
    monkeypatch.setattr(reputation_database, "MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(reputation_store, "MAX_RESULTS_BYTES", 256 << 10)
    monkeypatch.setattr(reputation_store, "_EVICT_EVERY", 10**9)
    numbers = itertools.count()
    with ReputationStore(path) as store:

        def fill(size_bytes: int) -> None:
            while True:
                received = attrs.evolve(result(B, next(numbers)), envelope_json=b"x" * size_bytes)
                store.learn([], [received])

        for size_bytes in (60 << 10, 4 << 10, 64):  # until not a page is left
            with pytest.raises(StorageError, match="full"):
                fill(size_bytes)
        for number in range(30):
            store.convict(PEERS[number], Path("/" + "p" * 200))

        assert sum(item.is_convicted for item in store.nodes()) == 30
        assert path.stat().st_size <= 1 << 20
