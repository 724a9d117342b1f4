"""Kills a process that uses a store, at random instants, and looks each time at what is left.

`python -m tests.daemon.store.store_crash DIRECTORY --kills 200` prints what it saw; any loss ends it with a traceback.
The child says what has been done only after the store has returned, so whatever it said must hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import attrs

from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Gone, Job, Store
from plasm_core.daemon.store.inputs import SMALL_BYTES
from plasm_core.records import JobInput, Outcome
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream
from tests.daemon.store.submission import MODULE, Submission, staged, submission, upload

LIMITS = StorageLimits(spare_bytes=1 << 20, keep_s=10**8)
TOKEN = b"c" * 32


@attrs.define
class Witness:
    """What has been said of the jobs, and what was seen of them."""

    accepted: set[str] = attrs.field(factory=set)
    finished: dict[str, str] = attrs.field(factory=dict)
    released: set[str] = attrs.field(factory=set)
    seen: dict[str, str] = attrs.field(factory=dict)

    def hear(self, line: bytes) -> None:
        """Take one line of the child."""
        word, job_id, *rest = line.decode().split()
        if word == "accepted":
            self.accepted.add(job_id)
        elif word == "released":
            self.released.add(job_id)
        else:
            assert word == "finished"
            assert job_id not in self.finished, "finished twice"
            self.finished[job_id] = rest[0]

    def look(self, store: Store, state: Path) -> None:
        """Check a store that was opened after a kill."""
        for job_id in self.accepted | self.finished.keys():
            job = store.find(job_id, TOKEN)
            assert job is not None, "an accepted job is lost"
            self._look_at(store, job)
        directories = {job.directory for job in store._table.present()}
        large = {job.directory for job in store._table.present() if is_large(job)}
        assert large <= {path.name for path in (state / "jobs").iterdir()} <= directories
        assert list((state / "modules" / "incoming").iterdir()) == []

    def _look_at(self, store: Store, job: Job) -> None:
        if job.state.live:
            assert job.job_id not in self.finished, "a result is lost"
            assert job.job_id not in self.seen, "a result is lost"
            assert hashlib.sha256(store.modules.read(job.module)).hexdigest() == job.module
            store.inputs(job)
            return
        if job.gone is not None:
            assert job.gone is Gone.RELEASED
            return
        assert job.job_id not in self.released, "what was released is back"
        assert job.envelope is not None
        result = hashlib.sha256(job.envelope).hexdigest()
        assert self.finished.get(job.job_id, result) == result, "another result than the one told"
        assert self.seen.setdefault(job.job_id, result) == result, "the result has changed"
        expected = json.loads(job.envelope)
        for stream in OutputStream:
            output = job.output(stream)
            content = store.read_output(job, stream, 0, 1 << 20)
            assert hashlib.sha256(content).hexdigest() == output.sha256 == expected[stream.label]
            assert len(content) == output.size_bytes


def is_large(job: Job) -> bool:
    """Return whether a job has files."""
    size = job.input_bytes if job.state.live else job.stdout.size_bytes + job.stderr.size_bytes
    return size > SMALL_BYTES


def _child(state: Path, seed: int, report: int) -> None:
    """Do what a daemon does, until killed."""
    rng = random.Random(seed)

    def say(word: str, job: Job, *rest: str) -> None:
        os.write(report, f"{word} {job.job_id} {' '.join(rest)}\n".encode())

    def finish(
        job: Job, outcome: Outcome, outputs: Mapping[OutputStream, OutputDigest] | None = None
    ) -> None:
        signed = {"nonce": f"{os.getpid()} {rng.random()}"}
        outputs = outputs or dict.fromkeys(OutputStream, OutputDigest())
        signed |= {stream.label: output.sha256 for stream, output in outputs.items()}
        envelope = json.dumps(signed).encode()
        store.finish(job.row, outcome=outcome, envelope=envelope)
        say("finished", job, hashlib.sha256(envelope).hexdigest())

    store = Store(state, LIMITS)
    recovery = store.recover()
    for job in recovery.exhausted:
        finish(job, Outcome(kind="system_error"))
    for job in recovery.cancelling:
        finish(job, Outcome(kind="cancelled"))
    waiting = [job.row for job in recovery.queued]
    sent: list[Submission] = []
    ended: list[int] = []
    while True:
        if len(waiting) < 4:
            job_sent = rng.choice(sent) if sent and rng.random() < 0.2 else _random_job(rng)
            if job_sent.manifest.module not in store.modules:
                upload(store, job_sent.module)
            answer = store.accept(staged(store, job_sent), manifest_json=job_sent.manifest_json, token=TOKEN)
            say("accepted", answer.job)
            sent.append(job_sent)
            if answer.created:
                waiting.append(answer.job.row)
            continue
        row = waiting.pop(rng.randrange(len(waiting)))
        if rng.random() < 0.1:
            finish(store.cancel(row), Outcome(kind="cancelled"))
            continue
        job, spool = store.begin(row)
        store.started(row)
        for _ in range(rng.randrange(4)):
            spool.append(rng.choice(tuple(OutputStream)), rng.randbytes(rng.choice((10, 50_000))))
        if rng.random() < 0.1 and store.requeue(row) is not None:
            waiting.append(row)
            continue
        outputs = spool.seal()
        finish(job, Outcome(kind="exited", code=0), outputs)
        ended.append(row)
        if rng.random() < 0.3:
            released = store.release(ended.pop(rng.randrange(len(ended))))
            say("released", released)


def _random_job(rng: random.Random) -> Submission:
    inputs = JobInput(
        args=(rng.randbytes(5).replace(b"\0", b"x"),), stdin=rng.randbytes(rng.choice((100, 20_000, 80_000)))
    )
    return submission(inputs, module=MODULE + bytes([rng.randrange(4)]), attempts=rng.choice((1, 3, 100)))


def _run_until_killed(state: Path, seed: int, *, lines: int, delay_s: float) -> list[bytes]:
    """Fork a child, kill it a moment after it has said so many lines, and return those that it said in full."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            _child(state, seed, write)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(3)
    os.close(write)
    os.set_blocking(read, False)
    heard = b""
    deadline = time.monotonic() + 60
    kill_at = deadline
    while time.monotonic() < kill_at:
        heard += _available(read)
        if kill_at == deadline and heard.count(b"\n") >= lines:
            kill_at = time.monotonic() + delay_s
        time.sleep(0.0005)
    assert kill_at < deadline, "the child did not get on"
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child failed by itself"
    while more := _available(read):
        heard += more
    os.close(read)
    return heard.split(b"\n")[:-1]


def _available(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    witness = Witness()
    for kill in range(options.kills):
        said = _run_until_killed(
            options.directory, options.seed + kill, lines=rng.randrange(12), delay_s=rng.uniform(0, 0.03)
        )
        for line in said:
            witness.hear(line)
        with Store(options.directory, LIMITS) as store:
            witness.look(store, options.directory)
    with Store(options.directory, LIMITS) as store:
        recovery = store.recover()
        for job in (*recovery.queued, *recovery.exhausted, *recovery.cancelling):
            store.finish(job.row, outcome=Outcome(kind="cancelled"), envelope=b"{}")
        totals = store.totals()
        reruns = sum(1 for job in store._table.present() if job.attempt > 1)
    print(  # noqa: T201
        json.dumps(
            {
                "seed": options.seed,
                "kills": options.kills,
                "accepted": len(witness.accepted),
                "finished": len(witness.finished),
                "released": len(witness.released),
                "run_again": reruns,
                "system_errors": totals.jobs[JobState.SYSTEM_ERROR],
                "live": sum(count for state, count in totals.jobs.items() if state.live),
            }
        )
    )


if __name__ == "__main__":
    main()
