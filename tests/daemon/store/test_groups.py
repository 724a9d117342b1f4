"""Group commit: what is handed in while the disk syncs is committed together, and told of when it is there."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from plasm_core.daemon.store import Store, StoredSubmission
from plasm_core.daemon.store.database import _LOOK, Change, Database
from plasm_core.errors import JobEndedError, StorageError, StorageFullError
from plasm_core.records import JobInput, Outcome
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputStream
from tests.daemon.store.submission import EXITED, LIMITS, TOKEN, accepted, staged, submission, upload
from tests.daemon.store.volume import small_disk

DEADLINE_S = 20


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Hold the writer up, so that what is handed in meanwhile is one group."""
    writing, go_on = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        writing.set()
        assert go_on.wait(DEADLINE_S)

    store._database.submit(Change(doing="wait", work=wait))
    assert writing.wait(DEADLINE_S)
    try:
        yield
    finally:
        go_on.set()


def accepting(store: Store, stdin: bytes = b"in") -> Future[StoredSubmission]:
    """Hand a job in."""
    job = submission(JobInput(stdin=stdin))
    return store.accepting(
        staged(store, job), manifest=job.manifest, manifest_json=job.manifest_json, token=TOKEN
    )


def commits(store: Store) -> Callable[[], int]:
    """Return what counts the groups that are committed from now on."""
    groups: list[int] = []
    attempt = store._database._attempt

    def counted(group: list[Change[object]]) -> object:
        groups.append(len(group))
        return attempt(group)

    store._database._attempt = counted  # type: ignore[method-assign, assignment]
    return lambda: len(groups)


def test_a_commit_waits_for_others_while_many_jobs_are_live(store: Store) -> None:
    """On a busy processor no write waits when a sync ends, so each change had its own sync."""
    upload(store)
    pauses = [store._gather_s()]
    for number in range(40):
        accepted(store, submission(JobInput(stdin=bytes([number]))))
        pauses.append(store._gather_s())

    assert pauses[0] == pauses[3] == 0.0
    assert pauses[3] < pauses[10] < pauses[20]
    assert pauses[40] == max(pauses) <= 0.015


def test_writes_that_arrive_during_a_wait_are_committed_together(store: Store) -> None:
    second_came, order = threading.Event(), list[str]()

    def gather() -> float:
        assert second_came.wait(DEADLINE_S)
        return 1e-6

    def note(word: str) -> Callable[[object], None]:
        return lambda _: order.append(word)

    store._database._gather_s = gather
    futures = [
        store._database.submit(Change(doing="write", work=note(f"do {name}"), committed=note(f"told {name}")))
        for name in ("first", "second")
    ]
    second_came.set()
    for future in futures:
        future.result(DEADLINE_S)

    assert order == ["do first", "do second", "told first", "told second"]


def test_waiting_writes_are_one_commit(store: Store) -> None:
    upload(store)
    rows = [accepted(store).row for _ in range(5)]
    for row in rows:
        store.begin(row)

    with held(store):
        count = commits(store)  # only now: the starts may be a group of their own, before what is held
        new = [accepting(store) for _ in range(20)]
        ended = [store.finishing(row, outcome=EXITED, envelope=b"{}") for row in rows]

    assert len({future.result(DEADLINE_S).job.row for future in new}) == 20
    assert [future.result(DEADLINE_S).state for future in ended] == [JobState.COMPLETE] * 5
    assert count() == 1


def test_a_late_write_does_not_fail_the_others_of_its_group(store: Store) -> None:
    upload(store)
    row = accepted(store).row
    with held(store):
        first = store.finishing(row, outcome=EXITED, envelope=b"{}")
        second = store.finishing(row, outcome=EXITED, envelope=b"other")
        new = accepting(store)

    assert first.result(DEADLINE_S).envelope == b"{}"
    with pytest.raises(JobEndedError):
        second.result(DEADLINE_S)
    assert new.result(DEADLINE_S).created
    assert store.get(row).envelope == b"{}"


def test_a_job_that_is_sent_twice_in_one_group_is_one_job(store: Store) -> None:
    upload(store)
    job = submission()
    with held(store):
        twice = [
            store.accepting(
                staged(store, job), manifest=job.manifest, manifest_json=job.manifest_json, token=TOKEN
            )
            for _ in range(2)
        ]

    first, second = (future.result(DEADLINE_S) for future in twice)
    assert (first.created, second.created) == (True, False)
    assert first.job == second.job
    assert store.inputs(first.job) == job.inputs
    assert store.totals().job_bytes == first.job.input_bytes + first.job.reserved_bytes


def test_a_group_that_fails_half_way_changes_nothing_twice(store: Store) -> None:
    """The others of the group are done, each alone."""
    upload(store)
    calls: list[int] = []

    def fail(sql: sqlite3.Connection) -> None:
        calls.append(1)
        sql.execute("UPDATE job SET cancelling = 1")
        raise sqlite3.OperationalError("disk I/O error")

    with held(store):
        before = accepting(store)
        failing = store._database.submit(Change(doing="fail", work=fail))
        after = accepting(store)

    jobs = [before.result(DEADLINE_S).job, after.result(DEADLINE_S).job]
    with pytest.raises(StorageError, match="cannot fail"):
        failing.result(DEADLINE_S)
    assert len(calls) == 2
    assert [store.get(job.row) for job in jobs] == jobs
    assert store.totals().jobs[JobState.QUEUED] == 2


def test_a_failed_commit_is_an_error_for_each_write_of_its_group(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(store)
    row = accepted(store).row
    store.begin(row)

    def broken(group: list[Change[object]]) -> object:
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patch:
        with held(store):
            patch.setattr(store._database, "_attempt", broken)
            new = accepting(store)
            ended = store.finishing(row, outcome=EXITED, envelope=b"{}")
        for future in (new, ended):
            with pytest.raises(StorageError, match="the disk is gone"):
                future.result(DEADLINE_S)

    assert store.get(row).state is JobState.INITIALIZING
    assert store.totals().jobs[JobState.QUEUED] == 0
    assert store.finish(row, outcome=EXITED, envelope=b"{}").state is JobState.COMPLETE
    assert accepted(store).state is JobState.QUEUED


def test_a_full_disk_within_a_group_refuses_jobs_and_keeps_results(tmp_path: Path) -> None:
    """Results may use the space held back; jobs that are not accepted yet may not."""
    with (
        small_disk(tmp_path / "disk", 6 << 20) as disk,
        Store(disk.state, attrs.evolve(LIMITS, spare_bytes=1 << 20)) as store,
    ):
        upload(store)
        rows = [accepted(store).row for _ in range(10)]
        for row in rows:
            store.begin(row)[1].append(OutputStream.STDOUT, b"of %d" % row)
        with held(store):
            # The room is gone only when all are in one group: nothing was refused at the door.
            new = [accepting(store, os.urandom(60_000)) for _ in range(20)]
            ended = [store.finishing(row, outcome=EXITED, envelope=b"{}" * 4000) for row in rows]
            disk.fill()

        assert [future.result(DEADLINE_S).state for future in ended] == [JobState.COMPLETE] * 10
        refused = [future for future in new if future.exception(DEADLINE_S) is not None]
        assert refused
        assert all(isinstance(future.exception(), StorageFullError) for future in refused)
        there = [future.result().job for future in new if future not in refused]
        held_bytes = sum(job.input_bytes + job.reserved_bytes for job in there)
        assert store.totals().job_bytes == held_bytes + sum(store.get(row).stdout.size_bytes for row in rows)


@pytest.mark.parametrize("moment", ["before the commit", "between the commit and the wake-up"])
def test_a_kill_around_a_commit_loses_nothing_that_was_acknowledged(state: Path, moment: str) -> None:
    """An unacknowledged write may exist or not; if it exists, it is complete."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _be_killed(state, moment, write)
        finally:
            os._exit(3)
    os.close(write)
    with open(read, "rb") as pipe:
        told = [int(line) for line in pipe.read().split()]
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL

    with Store(state, LIMITS) as store:
        found = store.recover()
        rows = [job.row for job in found.queued]
        assert set(told) <= set(rows)
        assert len(rows) == (len(told) if moment == "before the commit" else len(told) + 4)
        for job in found.queued:
            assert store.inputs(job).stdin
        for row in rows:
            store.begin(row)
            assert store.finish(row, outcome=Outcome(kind="cancelled"), envelope=b"{}").envelope == b"{}"


def _be_killed(state: Path, moment: str, report: int) -> None:
    store = Store(state, LIMITS)
    upload(store)
    for _ in range(3):
        os.write(report, b"%d\n" % accepted(store).row)
    database = store._database
    attempt = database._attempt

    def die(group: list[Change[object]]) -> object:
        if moment == "before the commit":
            os.kill(os.getpid(), signal.SIGKILL)
        done = attempt(group)
        if len(group) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    with held(store):
        database._attempt = die  # type: ignore[method-assign, assignment]
        new = [accepting(store) for _ in range(4)]
    for future in new:
        os.write(report, b"%d\n" % future.result(DEADLINE_S).job.row)


def test_the_start_of_a_run_shares_the_commit_of_its_result(store: Store) -> None:
    """A small job has two commits, one when it is accepted and one when it has ended."""
    upload(store)
    job = accepted(store, submission(JobInput(stdin=b"in")))
    count = commits(store)
    with held(store):
        store.begin(job.row)
        done = store.finishing(job.row, outcome=EXITED, envelope=b"{}")
    done.result(DEADLINE_S)

    assert count() == 2  # `held` has one of its own


def test_the_start_of_a_run_is_stored_though_nothing_else_is(store: Store, tmp_path: Path) -> None:
    """A job that kills its node must be known at the next start, however long it took."""
    upload(store)
    job = accepted(store, submission(JobInput(stdin=b"in")))
    store.begin(job.row)
    deadline = time.monotonic() + DEADLINE_S
    while store._database.query("SELECT attempts FROM job WHERE row = ?", (job.row,)) != [(1,)]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_start_of_a_run_is_stored_after_a_long_silence(store: Store) -> None:
    """The writer sleeps then, and is woken."""
    upload(store)
    job = accepted(store, submission(JobInput(stdin=b"in")))
    deadline = time.monotonic() + DEADLINE_S
    while store._database._is_watching:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.begin(job.row)
    while store._database.query("SELECT attempts FROM job WHERE row = ?", (job.row,)) != [(1,)]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_start_of_a_run_is_stored_when_the_store_is_closed(store: Store) -> None:
    upload(store)
    job = accepted(store, submission(JobInput(stdin=b"in")))
    with held(store):
        store.begin(job.row)
    store._database.close()

    with contextlib.closing(sqlite3.connect(store.directory / "plasmd.db")) as connection:
        assert connection.execute("SELECT attempts FROM job").fetchall() == [(1,)]


class _Gap(queue.SimpleQueue[Change[object] | None]):
    """The queue of the writer thread, which does something once, just before the writer looks for more."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._work = [work]

    def get_nowait(self) -> Change[object] | None:
        if self._work:
            self._work.pop()()
        return super().get_nowait()


def in_gap(database: Database, work: Callable[[], object]) -> None:
    """Have the writer thread call a function while it gathers a group."""
    before, database._waiting = database._waiting, _Gap(work)
    before.put(_LOOK)  # the writer may sleep there
    database.submit(Change(doing="write", work=lambda _: None, durable=False))


def test_no_later_change_overtakes_one_that_may_wait(store: Store) -> None:
    """A job whose beginning was written after it was queued again would count as interrupted after a restart."""
    database, order, futures = store._database, list[str](), queue.SimpleQueue[Future[None]]()

    def begin_and_queue_again() -> None:
        for word, may_wait in (("begin", True), ("queue again", False)):
            futures.put(
                database.submit(
                    Change(
                        doing="write",
                        work=lambda _, word=word: order.append(word),  # type: ignore[misc]
                        durable=False,
                        may_wait=may_wait,
                    )
                )
            )

    in_gap(database, begin_and_queue_again)
    for _ in range(2):
        futures.get(timeout=DEADLINE_S).result(DEADLINE_S)

    assert order == ["begin", "queue again"]


def test_the_end_commits_a_change_that_may_wait(store: Store) -> None:
    database, futures = store._database, queue.SimpleQueue[Future[None]]()
    closing = threading.Thread(target=database.close)

    def submit_and_close() -> None:
        change = Change(doing="write", work=lambda _: None, durable=False, may_wait=True)
        futures.put(database.submit(change))
        closing.start()
        while database._waiting.empty():
            time.sleep(0.001)

    in_gap(database, submit_and_close)
    futures.get(timeout=DEADLINE_S).result(DEADLINE_S)
    closing.join(DEADLINE_S)
