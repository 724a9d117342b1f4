"""What the store deletes, what it keeps private, and what its quota allows."""

import hashlib
import stat
from pathlib import Path

import pytest

from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Gone, Store
from plasm_core.errors import JobEndedError, OutputGoneError, StorageFullError
from plasm_core.fair_shares import Holder
from plasm_core.records import JobInput, Outcome, sha256
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from tests.daemon.store.submission import (
    CANCELLED,
    HOLDER,
    LARGE,
    LIMITS,
    MODULE,
    TOKEN,
    Clock,
    accepted,
    directories,
    files,
    finished,
    staged,
    submission,
    upload,
)


def test_one_holders_outputs_leave_room_for_others(state: Path) -> None:
    """Outputs are kept for days: one client must not fill the space of all."""
    limits = StorageLimits(job_bytes=8000, output_reserve_bytes=10, spare_bytes=0)
    with Store(state, limits) as store:
        upload(store)
        inputs = staged(store, job := submission(JobInput()), HOLDER)
        row = store.accept(inputs, manifest_json=job.manifest_json, token=TOKEN, holder=HOLDER).job.row
        _, spool = store.begin(row)
        spool.append(OutputStream.STDOUT, b"x" * 3000)

        with pytest.raises(StorageFullError, match="of this client"):
            spool.append(OutputStream.STDOUT, b"x" * 1000)

        other = store.stage(submission().manifest, {"stdin": 1000}, Holder(names=("c", "d")))
        own = store.stage(submission().manifest, {"stdin": 2000}, Holder(names=("e",), is_own=True))
        for inputs in (other, own):
            inputs.discard()


def test_a_released_job_leaves_only_what_keeps_it_from_running_again(store: Store, state: Path) -> None:
    job = submission()
    ended = finished(store, job)

    released = store.release(ended.row)

    assert released.gone is Gone.RELEASED
    assert released.state is JobState.COMPLETE
    assert (released.envelope, released.outcome, released.manifest_json) == (None, None, b"")
    assert directories(state) == []
    assert store.totals().job_bytes == 0
    assert store.totals().tombstones == 1
    with pytest.raises(OutputGoneError, match="released"):
        store.read_output(released, OutputStream.STDOUT, 0, 10)
    with pytest.raises(OutputGoneError):
        store.read_output(ended, OutputStream.STDOUT, 0, 10)
    again = store.accept(staged(store, job), manifest_json=job.manifest_json, token=TOKEN)
    assert not again.created
    assert again.job == released
    assert store.release(ended.row) == released


def test_a_job_that_has_not_ended_is_not_released(store: Store) -> None:
    row = accepted(store).row

    with pytest.raises(JobEndedError, match="has not ended"):
        store.release(row)

    assert store.get(row).gone is None


def test_outputs_expire_and_then_the_job_is_forgotten(store: Store, clock: Clock, state: Path) -> None:
    job = submission()
    ended = finished(store, job, stdout=bytes(100_000))
    waiting = accepted(store, submission(LARGE))

    clock.advance(LIMITS.keep_s - 1)
    assert store.expire() == 0
    clock.advance(1)
    assert store.expire() == 1
    assert store.get(ended.row).gone is Gone.EXPIRED
    assert directories(state) == [waiting.directory]

    clock.advance(LIMITS.tombstone_s - 1)
    assert store.expire() == 0
    clock.advance(1)
    assert store.expire() == 1
    assert store.find(ended.job_id, TOKEN) is None
    assert store.get(waiting.row) == waiting
    assert accepted(store, job).row > waiting.row


def test_more_jobs_expire_than_are_deleted_in_one_transaction(
    store: Store, clock: Clock, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plasm_core.daemon.store.job_table._BATCH", 2)
    for _ in range(5):
        finished(store)
    clock.advance(LIMITS.keep_s)

    assert store.expire() == 5
    assert store.totals().tombstones == 5
    assert directories(state) == []


def test_nothing_of_the_token_is_stored_but_its_hash(store: Store, state: Path) -> None:
    token = hashlib.sha256(b"a secret").digest()
    finished(store, token=token)
    store.close()

    content = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())

    assert hashlib.sha256(token).digest() in content
    assert token not in content
    assert token.hex().encode() not in content


def test_released_data_is_soon_in_no_file(store: Store, state: Path) -> None:
    receipt = b"a receipt that its owner wants gone" * 300
    row = accepted(store).row
    store.finish(row, outcome=CANCELLED, envelope=receipt)
    assert any(receipt[:35] in path.read_bytes() for path in state.glob("plasmd.db*"))

    store.release(row)
    store.expire()

    assert all(receipt[:35] not in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_all_is_private_to_the_owner(store: Store, state: Path) -> None:
    accepted(store, submission(LARGE))
    begun, spool = store.begin(accepted(store).row)
    spool.append(OutputStream.STDOUT, bytes(100_000))
    store.modules.upload("00" * 32, 4)

    for path in (state, *state.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert (state / "jobs" / begun.directory / "stdout.1").exists()


def test_a_start_removes_files_without_a_job(state: Path) -> None:
    with Store(state, LIMITS) as store:
        store.stage(submission().manifest, {"stdin": 100_000}).write("stdin", b"abc")
        taking = store.modules.upload(sha256(MODULE), len(MODULE))
        taking.write(MODULE[:4])
        kept = accepted(store, submission(LARGE, module=b"\0asm other"))
        _, spool = store.begin(kept.row)
        spool.append(OutputStream.STDOUT, b"half an output" * 10_000)
        ended = finished(store, submission(module=b"\0asm other"), stdout=bytes(100_000))
        (state / "jobs" / ended.directory / "stdin").write_bytes(b"what a crash left")

    with Store(state, LIMITS) as store:
        assert directories(state) == sorted([kept.directory, ended.directory])
        assert files(state, kept) == ["args", "env", "stdin"]
        assert files(state, ended) == ["stderr.1", "stdout.1"]
        assert list((state / "modules" / "incoming").iterdir()) == []
        assert store.totals().modules == 1


def test_the_quota_bounds_inputs_before_they_are_sent(state: Path) -> None:
    limits = StorageLimits(job_bytes=100, output_reserve_bytes=10, spare_bytes=0)
    with Store(state, limits) as store:
        first = store.stage(submission().manifest, {"stdin": 60})

        with pytest.raises(StorageFullError, match="no room for 50 bytes more: jobs keep 70 of 100 bytes"):
            store.stage(submission().manifest, {"stdin": 40})

        first.discard()
        store.stage(submission().manifest, {"stdin": 90}).discard()
        assert store.totals().job_bytes == 0


def test_output_beyond_the_quota_is_not_taken_and_the_job_can_end(state: Path) -> None:
    limits = StorageLimits(job_bytes=100, output_reserve_bytes=10, spare_bytes=0)
    with Store(state, limits) as store:
        job, spool = store.begin(accepted(store, submission(JobInput())).row)
        spool.append(OutputStream.STDOUT, b"x" * 90)
        spool.append(OutputStream.STDERR, b"y" * 10)

        with pytest.raises(StorageFullError):
            spool.append(OutputStream.STDOUT, b"z")

        assert store.read_output(job, OutputStream.STDOUT, 85, 100) == b"xxxxx"
        spool.discard()
        assert store.totals().job_bytes == 10
        ended = store.finish(job.row, outcome=Outcome(kind="system_error", detail="full"), envelope=b"{}")
        assert ended.stdout == ended.stderr == OutputDigest()
        assert store.totals().job_bytes == 0


def test_the_quota_is_counted_again_at_a_start(state: Path) -> None:
    with Store(state, LIMITS) as store:
        finished(store, stdout=b"12345")
        accepted(store, submission(output_bytes=100))
        before = store.totals()

    with Store(state, LIMITS) as store:
        assert store.totals() == before
        assert before.job_bytes == 5 + (8 + 3 + 8) + (8 + 3) + 2 + 200
