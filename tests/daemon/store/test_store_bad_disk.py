"""What a full, read-only or vanished disk does: a clear error, and no accepted job lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.daemon.store import Store
from plasm_core.daemon.store.database import Change
from plasm_core.errors import StorageError, StorageFullError
from plasm_core.records import JobInput, Outcome, sha256
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from tests.daemon.store.submission import (
    EXITED,
    LARGE,
    LIMITS,
    MODULE,
    TOKEN,
    accepted,
    directories,
    finished,
    staged,
    submission,
    upload,
)
from tests.daemon.store.volume import SmallDisk, read_only, small_disk

WITH_SPARE = attrs.evolve(LIMITS, spare_bytes=1 << 20)
FAILED = Outcome(kind="system_error", detail="the disk is full")
ENVELOPE = bytes(range(256)) * 32


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 6 MiB."""
    with small_disk(tmp_path / "disk", 6 << 20) as made:
        yield made


def test_a_full_disk_refuses_new_jobs_and_keeps_those_it_has(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        kept = accepted(store)
        ended = finished(store, stdout=b"output")
        disk.fill()

        for _ in range(3):
            job = submission(JobInput(stdin=b"x" * 100_000))
            with pytest.raises(StorageFullError, match="the disk is full") as caught:
                store.accept(staged(store, job), manifest_json=job.manifest_json, token=TOKEN)
        assert caught.value.hint is not None
        assert "free some space" in caught.value.hint
        with pytest.raises(StorageFullError, match="the disk is full"):
            upload(store, b"\0asm" + bytes(100_000))

    with Store(disk.state, WITH_SPARE) as store:
        assert store.recover().queued == (kept,)
        assert store.inputs(kept) == submission().inputs
        assert store.read_output(ended, OutputStream.STDOUT, 0, 10) == b"output"
        assert directories(disk.state) == []
        disk.clear()
        accepted(store)


def test_uploads_that_the_disk_refused_leave_nothing(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        before = disk.free_bytes
        job = submission(JobInput(stdin=bytes(8 << 20)))
        inputs = store.stage(job.manifest, {"stdin": 8 << 20})
        taking = store.modules.upload("00" * 32, 8 << 20)

        with pytest.raises(StorageFullError):
            inputs.write("stdin", job.inputs.stdin)
        inputs.discard()
        with pytest.raises(StorageFullError):
            taking.write(bytes(8 << 20))
        taking.discard()

        assert disk.free_bytes == before
        assert store.totals().job_bytes == store.totals().module_bytes == 0


def test_a_job_that_fills_the_disk_ends_and_its_room_comes_back(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        other = finished(store, stdout=b"another job's")
        before = disk.free_bytes
        job, spool = store.begin(accepted(store).row)
        spool.append(OutputStream.STDERR, b"complaint")
        size = 0

        def flood() -> None:
            nonlocal size
            for _ in range(10_000):
                spool.append(OutputStream.STDOUT, bytes(65_536))
                size += 65_536

        with pytest.raises(StorageFullError, match="the disk is full"):
            flood()

        assert store.output_bytes(job, OutputStream.STDOUT) == size
        others = other.stdout.size_bytes
        assert store.totals().job_bytes == others + job.input_bytes + len(b"complaint") + size
        assert len(store.read_output(job, OutputStream.STDOUT, 0, 16 << 20)) == size
        spool.discard()
        ended = store.finish(job.row, outcome=FAILED, envelope=ENVELOPE)
        assert ended.state is JobState.SYSTEM_ERROR
        assert (ended.stdout, ended.stderr) == (OutputDigest(), OutputDigest())
        assert store.read_output(other, OutputStream.STDOUT, 0, 100) == b"another job's"
        assert before - disk.free_bytes < 256 << 10
        finished(store, stdout=bytes(1 << 20))


def test_results_are_kept_although_another_program_has_filled_the_disk(disk: SmallDisk) -> None:
    """The space held back is for this."""
    with Store(disk.state, WITH_SPARE) as store:
        rows = [accepted(store).row for _ in range(10)]
        spools = {row: store.begin(row)[1] for row in rows}
        for row, spool in spools.items():
            spool.append(OutputStream.STDOUT, b"of %d" % row)
        disk.fill()

        for row in rows:
            store.finish(row, outcome=EXITED, envelope=ENVELOPE)

    with Store(disk.state, WITH_SPARE) as store:
        recovery = store.recover()
        assert recovery.queued == recovery.exhausted == ()
        for row in rows:
            job = store.get(row)
            assert (job.outcome, job.envelope) == (EXITED, ENVELOPE)
            assert store.read_output(job, OutputStream.STDOUT, 0, 10) == b"of %d" % row
            assert job.stdout.sha256 == sha256(b"of %d" % row)


def test_a_result_that_finds_no_room_at_all_can_be_kept_later(disk: SmallDisk) -> None:
    with Store(disk.state, LIMITS) as store:
        rows = [accepted(store).row for _ in range(30)]
        for row in rows:
            store.begin(row)[1].append(OutputStream.STDOUT, b"of %d" % row)
        disk.fill()
        held_up = []
        for row in rows:
            try:
                store.finish(row, outcome=EXITED, envelope=ENVELOPE * 4)
            except StorageFullError:
                held_up.append(row)
        assert held_up
        assert store.get(held_up[0]).state is JobState.INITIALIZING
        disk.clear()

        for row in held_up:
            store.finish(row, outcome=EXITED, envelope=ENVELOPE * 4)

        for row in rows:
            assert store.read_output(store.get(row), OutputStream.STDOUT, 0, 10) == b"of %d" % row


def test_while_the_reserve_is_spent_nothing_else_grows(disk: SmallDisk) -> None:
    """Or the room that a result needs would go to another job's output."""
    with Store(disk.state, WITH_SPARE) as store:
        first, second = accepted(store).row, accepted(store).row
        store.begin(first)
        _, spool = store.begin(second)
        disk.fill()
        store.finish(first, outcome=EXITED, envelope=ENVELOPE * 50)
        assert disk.free_bytes > 0

        with pytest.raises(StorageFullError, match="the disk is full"):
            spool.append(OutputStream.STDOUT, b"x")
        with pytest.raises(StorageFullError, match="the disk is full"):
            store.stage(submission().manifest, {})
        disk.clear()
        spool.append(OutputStream.STDOUT, b"x")
        store.finish(second, outcome=EXITED, envelope=ENVELOPE)


def test_a_job_that_cannot_begin_stays_queued(disk: SmallDisk) -> None:
    """If the job may have killed the daemon, its next attempt is on the disk before it starts."""
    with Store(disk.state, LIMITS) as store:
        rows = [accepted(store, submission(attempts=1)).row for _ in range(60)]
    with Store(disk.state, LIMITS) as store:
        store.recover()
        disk.fill()

        begun = []
        for row in rows:
            try:
                begun.append(store.begin(row)[0].row)
            except StorageFullError:
                break
        held_up = rows[len(begun) :]
        assert held_up
        job = store.get(held_up[0])
        assert (job.state, job.attempt) == (JobState.QUEUED, 0)
        disk.clear()
        for row in held_up:
            store.begin(row)
            store.finish(row, outcome=EXITED, envelope=ENVELOPE)


def test_releasing_works_on_a_full_disk_and_frees_it(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        job = finished(store, stdout=bytes(2 << 20))
        disk.fill()

        store.release(job.row)

        assert disk.free_bytes >= 2 << 20


def test_expiry_works_on_a_full_disk_and_frees_it(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        job = finished(store, stdout=bytes(2 << 20))
        assert job.expires_at is not None
        disk.fill()

        assert store.expire(job.expires_at) == 1

        assert disk.free_bytes >= 2 << 20
        assert store.expire(job.expires_at) == 0


def test_a_disk_that_is_full_at_the_start_is_no_loss(disk: SmallDisk) -> None:
    with Store(disk.state, WITH_SPARE) as store:
        job = accepted(store)
    disk.fill()

    with Store(disk.state, WITH_SPARE) as store:
        assert store.recover().queued == (job,)
        assert store.cancel(job.row).cancelling
        store.finish(job.row, outcome=Outcome(kind="cancelled"), envelope=ENVELOPE)


def test_a_directory_cannot_be_made_on_a_full_disk(disk: SmallDisk) -> None:
    disk.fill()

    with pytest.raises(StorageFullError, match="the disk is full"):
        Store(disk.state, WITH_SPARE)


def test_a_read_only_directory_is_refused_and_left_as_it_is(state: Path) -> None:
    with Store(state, LIMITS) as store:
        job = accepted(store)
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}

    with read_only(state):
        with pytest.raises(StorageError, match="Read-only file system") as caught:
            Store(state, LIMITS)
        assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before

    assert caught.value.hint == "remount the file system read-write, or choose another state directory"
    with Store(state, LIMITS) as store:
        assert store.recover().queued == (job,)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with read_only(tmp_path / "parent"), pytest.raises(StorageError, match="Read-only file system"):
        Store(tmp_path / "parent" / "state", LIMITS)


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(StorageError, match="File exists"):
        Store(tmp_path / "state", LIMITS)


def test_a_directory_removed_meanwhile_is_an_error_and_the_rest_stays(store: Store, state: Path) -> None:
    job = finished(store)
    _, spool = store.begin(accepted(store).row)
    shutil.rmtree(state / "jobs")

    with pytest.raises(StorageError, match="No such file or directory") as caught:
        store.stage(submission().manifest, {"stdin": 100_000})
    with pytest.raises(StorageError, match="No such file or directory"):
        spool.append(OutputStream.STDOUT, bytes(100_000))
    assert caught.value.hint == "something removed it while the daemon ran; restart the daemon"
    assert store.get(job.row) == job
    finished(store)


def test_inputs_lost_from_the_disk_are_noticed_and_the_job_can_end(store: Store, state: Path) -> None:
    job = accepted(store, submission(LARGE))
    (state / "jobs" / job.directory / "stdin").write_bytes(b"IN")

    with pytest.raises(StorageError, match="stdin of an accepted job is damaged or missing"):
        store.inputs(job)

    assert store.finish(job.row, outcome=FAILED, envelope=ENVELOPE).state is JobState.SYSTEM_ERROR


def test_everything_accepted_was_brought_to_the_disk_before_its_row(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kill can show a missing fsync, only a power cut; so the order of calls is looked at."""
    synced: set[int] = set()
    at_commit: list[set[int]] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        real_fsync(fd)
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    with Store(state, LIMITS) as store:
        submit = store._database.submit

        def submit_later(change: Change[Any]) -> Future[Any]:
            at_commit.append(set(synced))
            return submit(change)

        monkeypatch.setattr(store._database, "submit", submit_later)
        job = accepted(store, submission(LARGE))
        digest = sha256(MODULE)
        directory = state / "jobs" / job.directory
        needed = [
            *(directory / name for name in ("args", "env", "stdin")),
            directory,
            directory.parent,
            state / "modules" / digest[:2] / digest,
            state / "modules" / digest[:2],
            state / "modules",
            state,
            state.parent,
        ]
        assert {path.stat().st_ino for path in needed} <= at_commit[0]

        synced.clear()
        _, spool = store.begin(job.row)
        spool.append(OutputStream.STDOUT, bytes(100_000))
        store.finish(job.row, outcome=EXITED, envelope=ENVELOPE)
        assert {path.stat().st_ino for path in (directory / "stdout.1", directory)} <= synced
