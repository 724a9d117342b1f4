"""A job's way through the store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plasm_core.daemon.store import Store
from plasm_core.errors import JobEndedError, OutputGoneError, RefusedError, StateInUseError
from plasm_core.fair_shares import NOBODY
from plasm_core.records import JobInput, Outcome, sha256
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from tests.daemon.store.submission import (
    CANCELLED,
    EXITED,
    HOLDER,
    INPUTS,
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


def test_an_accepted_job_is_there_after_a_restart(state: Path) -> None:
    job = submission()
    with Store(state, LIMITS) as store:
        row = accepted(store, job).row

    with Store(state, LIMITS) as store:
        (found,) = store.recover().queued
        assert found.row == row
        assert found.state is JobState.QUEUED
        assert found.manifest == job.manifest
        assert found.manifest_json == job.manifest_json
        assert store.inputs(found) == job.inputs
        assert store.modules.read(found.module) == MODULE


def test_inputs_that_are_all_empty_are_read_as_empty(store: Store) -> None:
    job = accepted(store, submission(JobInput()))

    assert store.inputs(job) == JobInput()


@pytest.mark.parametrize("inputs", [INPUTS, LARGE])
def test_the_same_manifest_and_token_is_the_same_job(store: Store, state: Path, inputs: JobInput) -> None:
    job = submission(inputs)
    first = accepted(store, job)

    again = store.accept(staged(store, job), manifest_json=job.manifest_json, token=TOKEN)

    assert not again.created
    assert again.job == first
    assert directories(state) == ([first.directory] if inputs == LARGE else [])
    assert store.inputs(first) == inputs


def test_the_same_manifest_with_another_token_is_another_job(store: Store) -> None:
    job = submission()
    mine, other = accepted(store, job), accepted(store, job, token=b"o" * 32)

    assert mine.row != other.row
    assert store.find(mine.job_id, TOKEN) == mine
    assert store.find(mine.job_id, b"o" * 32) == other
    assert store.find(mine.job_id, b"x" * 32) is None


@pytest.mark.parametrize("sent", [INPUTS, LARGE])
def test_many_threads_that_submit_one_job_get_one_row(store: Store, state: Path, sent: JobInput) -> None:
    job = submission(sent)
    upload(store)
    inputs = [staged(store, job) for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda item: store.accept(item, manifest_json=job.manifest_json, token=TOKEN), inputs)
        )

    assert [answer.created for answer in answers].count(True) == 1
    assert len({answer.job.row for answer in answers}) == 1
    assert len(directories(state)) == (sent == LARGE)
    assert store.totals().job_bytes == answers[0].job.input_bytes + answers[0].job.reserved_bytes


@pytest.mark.parametrize("name", ["args", "env", "stdin"])
def test_inputs_that_the_manifest_does_not_name_are_refused(store: Store, state: Path, name: str) -> None:
    upload(store)
    job = submission()
    other = job.manifest_json.replace(getattr(job.manifest, name).encode(), b"00" * 32)

    with pytest.raises(RefusedError, match=f"{name} is not what the manifest names") as caught:
        store.accept(staged(store, job), manifest_json=other, token=TOKEN)

    assert caught.value.reason == "digest_mismatch"
    assert directories(state) == []
    assert store.totals().job_bytes == 0


def test_an_input_longer_than_announced_is_refused_before_it_is_written(store: Store, state: Path) -> None:
    inputs = store.stage(submission().manifest, {"stdin": 3})
    inputs.write("stdin", b"abc")

    with pytest.raises(RefusedError, match="stdin is longer than was announced"):
        inputs.write("stdin", b"d")

    assert inputs.received == {"args": 0, "env": 0, "stdin": 3}
    inputs.discard()
    assert directories(state) == []


def test_a_job_without_its_module_is_refused(store: Store) -> None:
    job = submission()

    with pytest.raises(RefusedError) as caught:
        store.accept(staged(store, job), manifest_json=job.manifest_json, token=TOKEN)

    assert caught.value.reason == "module_missing"


def test_a_job_goes_through_its_states(store: Store, clock: Clock) -> None:
    job = accepted(store)
    clock.advance(1)
    begun, spool = store.begin(job.row)
    running = store.started(job.row)
    spool.append(OutputStream.STDOUT, b"out")
    spool.append(OutputStream.STDERR, b"error")
    clock.advance(2)
    ended = store.finish(job.row, outcome=Outcome(kind="exited", code=3), envelope=b"signed")

    assert (begun.state, begun.attempt) == (JobState.INITIALIZING, 1)
    assert running.state is JobState.RUNNING
    assert ended.state is JobState.EXECUTOR_ERROR
    assert ended.outcome == Outcome(kind="exited", code=3)
    assert ended.envelope == b"signed"
    assert ended.stdout == OutputDigest(size_bytes=3, sha256=sha256(b"out"))
    assert ended.stderr == OutputDigest(size_bytes=5, sha256=sha256(b"error"))
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert (ended.started_at - ended.accepted_at).total_seconds() == 1
    assert (ended.finished_at - ended.started_at).total_seconds() == 2
    assert store.get(job.row) == ended


def test_a_second_result_is_refused(store: Store) -> None:
    job = finished(store)

    with pytest.raises(JobEndedError):
        store.finish(job.row, outcome=CANCELLED, envelope=b"other")

    assert store.get(job.row) == job


def test_only_one_of_many_concurrent_results_is_kept(store: Store) -> None:
    row = accepted(store).row
    store.begin(row)

    def finish(code: int) -> int | None:
        try:
            store.finish(row, outcome=Outcome(kind="exited", code=code), envelope=b"%d" % code)
        except JobEndedError:
            return None
        return code

    with ThreadPoolExecutor(8) as pool:
        kept = [code for code in pool.map(finish, range(8)) if code is not None]

    (code,) = kept
    assert store.get(row).envelope == b"%d" % code
    assert store.get(row).outcome == Outcome(kind="exited", code=code)


def test_a_run_that_was_given_up_meanwhile_gives_no_result(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = accepted(store).row
    _, spool = store.begin(row)
    monkeypatch.setattr(spool, "sync", lambda: store.requeue(row))

    with pytest.raises(JobEndedError, match="another attempt"):
        store.finish(row, outcome=EXITED, envelope=b"{}")

    assert store.get(row).state is JobState.QUEUED


def test_discarding_inputs_that_a_job_has_deletes_nothing(store: Store) -> None:
    job = submission()
    upload(store)
    inputs = staged(store, job)
    answer = store.accept(inputs, manifest_json=job.manifest_json, token=TOKEN)

    inputs.discard()

    assert store.inputs(answer.job) == job.inputs


def test_output_is_read_while_it_grows(store: Store) -> None:
    job, spool = store.begin(accepted(store).row)

    assert store.read_output(job, OutputStream.STDOUT, 0, 10) == b""
    spool.append(OutputStream.STDOUT, b"abc")
    assert store.output_bytes(job, OutputStream.STDOUT) == 3
    assert store.output_bytes(job, OutputStream.STDERR) == 0
    assert store.read_output(job, OutputStream.STDOUT, 1, 10) == b"bc"
    spool.append(OutputStream.STDOUT, b"def")
    assert store.read_output(job, OutputStream.STDOUT, 2, 3) == b"cde"
    assert store.read_output(job, OutputStream.STDOUT, 6, 3) == b""
    ended = store.finish(job.row, outcome=EXITED, envelope=b"{}")
    assert store.read_output(job, OutputStream.STDOUT, 5, 3) == b"f"
    assert store.read_output(ended, OutputStream.STDOUT, 0, 100) == b"abcdef"
    assert store.read_output(ended, OutputStream.STDERR, 0, 100) == b""


def test_an_output_has_its_size_while_its_job_ends(store: Store) -> None:
    """For a moment a job is live no more, and the cache has it as it was accepted: a client was told of 0 bytes."""
    row = accepted(store).row
    before = store._recent.get(row)
    assert before is not None
    job, spool = store.begin(row)
    spool.append(OutputStream.STDOUT, b"abc")
    store.finish(row, outcome=EXITED, envelope=b"{}")
    store._recent.put(row, before.job, before.contents, 0)

    assert store.output_bytes(job, OutputStream.STDOUT) == 3


def test_no_output_is_taken_after_it_was_sealed(store: Store) -> None:
    _, spool = store.begin(accepted(store).row)
    spool.append(OutputStream.STDOUT, b"abc")
    sealed = spool.seal()

    with pytest.raises(Exception, match="sealed"):
        spool.append(OutputStream.STDOUT, b"d")

    assert spool.seal() == sealed


@pytest.mark.parametrize("inputs", [INPUTS, LARGE])
@pytest.mark.parametrize("size", [5, 100_000])
def test_a_result_deletes_the_inputs_and_keeps_the_outputs(
    state: Path, clock: Clock, inputs: JobInput, size: int
) -> None:
    output = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with Store(state, LIMITS, clock=clock) as store:
        job = finished(store, submission(inputs), stdout=output)

        assert directories(state) == ([job.directory] if size > 5 else [])
        assert store.totals().job_bytes == size
        assert store.read_output(job, OutputStream.STDOUT, 2, 10) == output[2:12]

    with Store(state, LIMITS, clock=clock) as store:
        assert store.read_output(job, OutputStream.STDOUT, 0, size) == output
        assert store.read_output(job, OutputStream.STDERR, 0, size) == b""
        assert directories(state) == ([job.directory] if size > 5 else [])
        if size > 5:
            assert files(state, job) == ["stderr.1", "stdout.1"]


def test_output_that_grows_beyond_what_memory_takes_is_read_as_before(store: Store, state: Path) -> None:
    job, spool = store.begin(accepted(store).row)
    written = bytearray()
    for number in range(200):
        piece = bytes([number]) * 1000
        spool.append(OutputStream.STDOUT, piece)
        spool.append(OutputStream.STDERR, b"e")
        written += piece
        assert (
            store.read_output(job, OutputStream.STDOUT, max(0, len(written) - 1500), 2000) == written[-1500:]
        )

    ended = store.finish(job.row, outcome=EXITED, envelope=b"{}")

    assert files(state, job) == ["stderr.1", "stdout.1"]
    assert store.read_output(ended, OutputStream.STDOUT, 0, 1 << 20) == written
    assert store.read_output(ended, OutputStream.STDERR, 0, 1 << 20) == b"e" * 200


def test_a_job_cancelled_in_the_queue_ends_without_output(store: Store) -> None:
    row = accepted(store).row

    assert store.cancel(row).cancelling
    with pytest.raises(JobEndedError):
        store.begin(row)
    job = store.finish(row, outcome=CANCELLED, envelope=b"{}")

    assert job.state is JobState.CANCELED
    assert job.attempt == 0
    assert store.read_output(job, OutputStream.STDOUT, 0, 10) == b""
    assert store.cancel(row) == job


def test_a_job_that_was_to_be_cancelled_is_not_run_after_a_crash(state: Path) -> None:
    with Store(state, LIMITS) as store:
        row = accepted(store).row
        store.begin(row)
        store.cancel(row)

    with Store(state, LIMITS) as store:
        recovery = store.recover()
        assert [job.row for job in recovery.cancelling] == [row]
        assert recovery.cancelling[0].started_at is not None
        assert recovery.queued == recovery.exhausted == ()
        assert store.finish(row, outcome=CANCELLED, envelope=b"{}").state is JobState.CANCELED


def test_a_job_that_ran_is_run_again_until_its_attempts_are_used_up(state: Path) -> None:
    """The first interruption proves nothing against it; from then on it counts, since it ran alone."""
    with Store(state, LIMITS) as store:
        row = accepted(store, submission(attempts=2)).row
        _, spool = store.begin(row)
        spool.append(OutputStream.STDOUT, b"half")

    for number in (1, 2):
        with Store(state, LIMITS) as store:
            (job,) = store.recover().queued
            assert (job.state, job.attempt, job.started_at) == (JobState.QUEUED, number, None)
            assert (job.interruptions, job.counted_attempts) == (number, number - 1)
            assert store.read_output(job, OutputStream.STDOUT, 0, 10) == b""
            job, spool = store.begin(row)
            assert (job.attempt, job.counted_attempts) == (number + 1, number)
            assert store.read_output(job, OutputStream.STDOUT, 0, 10) == b""
            store.started(row)

    with Store(state, LIMITS) as store:
        recovery = store.recover()
        (job,) = recovery.exhausted
        assert recovery.queued == ()
        assert (job.row, job.counted_attempts, job.interruptions) == (row, 2, 3)
        ended = store.finish(row, outcome=Outcome(kind="system_error"), envelope=b"{}")
        assert ended.state is JobState.SYSTEM_ERROR
        assert store.read_output(ended, OutputStream.STDOUT, 0, 10) == b""


@pytest.mark.parametrize("crashes", [1, 3, 10])
def test_concurrent_jobs_lose_nothing_in_crashes(state: Path, crashes: int) -> None:
    """It is unknown which of them ended the daemon, if any."""
    with Store(state, LIMITS) as store:
        rows = [accepted(store, submission(attempts=1)).row for _ in range(3)]
        for row in rows:
            store.begin(row)

    for _ in range(crashes):
        with Store(state, LIMITS) as store:
            found = store.recover()
            assert [job.row for job in found.queued] == rows
            for row in rows:
                store.begin(row)

    with Store(state, LIMITS) as store:
        assert [job.counted_attempts for job in store.recover().queued] == [0, 0, 0]


def test_a_job_that_waited_when_the_daemon_died_is_no_suspect(state: Path) -> None:
    with Store(state, LIMITS) as store:
        ran, waited = accepted(store).row, accepted(store).row
        store.begin(ran)

    with Store(state, LIMITS) as store:
        found = {job.row: job.interruptions for job in store.recover().queued}
        assert found == {ran: 1, waited: 0}


def test_a_job_that_the_daemon_put_back_itself_is_no_suspect(state: Path) -> None:
    with Store(state, LIMITS) as store:
        row = accepted(store).row
        store.begin(row)
        store.requeue(row, counted=False)

    with Store(state, LIMITS) as store:
        (job,) = store.recover().queued
        assert job.interruptions == 0


def test_the_owner_of_a_job_survives_a_restart_until_the_job_is_deleted(state: Path, clock: Clock) -> None:
    with Store(state, LIMITS, clock=clock) as store:
        job = submission()
        upload(store)
        inputs = store.stage(job.manifest, {"args": 11, "env": 8, "stdin": 2}, HOLDER)
        inputs.discard()
        row = store.accept(
            staged(store, job), manifest_json=job.manifest_json, token=TOKEN, holder=HOLDER
        ).job.row

    with Store(state, LIMITS, clock=clock) as store:
        (found,) = store.recover().queued
        assert found.holder == HOLDER
        assert store._budget._shares.held(HOLDER) == found.input_bytes + found.reserved_bytes
        _, spool = store.begin(row)
        spool.append(OutputStream.STDOUT, b"kept")
        store.finish(row, outcome=EXITED, envelope=b"{}")
        assert store._budget._shares.held(HOLDER) == 4

    with Store(state, LIMITS, clock=clock) as store:
        assert store._budget._shares.held(HOLDER) == 4
        assert store.release(row).holder == NOBODY
        assert store._budget._shares.held(HOLDER) == 0
        store.expire()
    assert all(b"a" * 32 not in path.read_bytes() for path in state.iterdir() if path.is_file())


def test_a_job_put_back_by_choice_keeps_its_attempts(store: Store) -> None:
    row = accepted(store, submission(attempts=1)).row
    first, spool = store.begin(row)
    spool.append(OutputStream.STDOUT, b"of the first")

    queued = store.requeue(row, counted=False)
    assert queued is not None
    assert (queued.state, queued.attempt, queued.counted_attempts) == (JobState.QUEUED, 1, 0)
    with pytest.raises(OutputGoneError):
        store.read_output(first, OutputStream.STDOUT, 0, 10)

    second, spool = store.begin(row)
    assert (second.attempt, second.counted_attempts) == (2, 1)
    spool.append(OutputStream.STDOUT, b"of the second")
    assert store.read_output(second, OutputStream.STDOUT, 0, 100) == b"of the second"
    with pytest.raises(OutputGoneError):
        store.read_output(first, OutputStream.STDOUT, 0, 10)
    assert store.requeue(row) is None
    assert store.get(row) == second


def test_two_daemons_do_not_share_a_directory(store: Store, state: Path) -> None:
    with pytest.raises(StateInUseError, match=r"another daemon \(process [0-9]+\) uses") as caught:
        Store(state, LIMITS)

    assert str(caught.value.hint).startswith("clients use that one; plasmd --stop ends it")
    store.close()
    Store(state, LIMITS).close()


def test_totals_count_jobs_by_state(store: Store) -> None:
    finished(store)
    accepted(store)
    store.begin(accepted(store).row)

    totals = store.totals()

    counted = {state: count for state, count in totals.jobs.items() if count}
    assert counted == {JobState.COMPLETE: 1, JobState.QUEUED: 1, JobState.INITIALIZING: 1}
    assert (totals.modules, totals.module_bytes) == (1, len(MODULE))
