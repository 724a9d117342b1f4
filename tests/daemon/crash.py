"""Kills a daemon at random instants while clients use it, and holds it to what it accepted.

`python -m tests.daemon.crash DIRECTORY --kills 200` prints what it saw; any loss ends it with a traceback.
The clients are the real library. Whatever it returned, of a job that was accepted or has ended, must hold.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs

from plasm_core.client import Client, JobResult, Submission
from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Store
from plasm_core.errors import ConnectionLostError, PeerUnreachableError, WaitTimeoutError
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle, Limits, PeerId
from tests.daemon.conftest import HELLO
from tests.support import processes
from tests.support.daemon import Daemon
from tests.support.wat import FOREVER, writing

CLIENTS = 6
SPIN_GAS = 200_000_000
PATIENT = 100
"""Attempts that no run of this test uses up."""
END_S = 300.0
_GONE = (PeerUnreachableError, ConnectionLostError, WaitTimeoutError)
"""What a client is told while there is no daemon."""


@attrs.frozen(eq=False)
class Work:
    """A submission, and what must become of it."""

    submission: Submission
    outcome: str
    stdout: bytes

    @property
    def is_patient(self) -> bool:
        """Whether no number of kills may keep it from its own outcome."""
        return self.submission.manifest.retry.attempts == PATIENT


@attrs.define(eq=False)
class Witness:
    """What clients were told. Thread-safe."""

    works: dict[str, Work] = attrs.field(factory=dict)
    accepted: dict[str, Handle] = attrs.field(factory=dict)
    results: dict[str, bytes] = attrs.field(factory=dict)
    outcomes: collections.Counter[str] = attrs.field(factory=collections.Counter)
    restarted: set[str] = attrs.field(factory=set)
    asked_again: int = 0
    failures: list[BaseException] = attrs.field(factory=list)
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    @property
    def events(self) -> int:
        """How much has happened."""
        return len(self.accepted) + len(self.results) + self.asked_again

    def accept(self, handle: Handle) -> None:
        """Note that a job was accepted."""
        with self.lock:
            self.accepted[handle.job_id] = handle

    def end(self, result: JobResult) -> None:
        """Check a result, which its receipt has been verified for."""
        job_id, envelope = result.handle.job_id, result.envelope.to_json()
        work, kind = self.works[job_id], result.receipt.result.outcome.kind
        if kind == "system_error" and not work.is_patient:
            assert result.stdout == b""
        else:
            assert kind == work.outcome, f"{kind}: {result.receipt.result.outcome}"
            assert result.stdout == work.stdout
        with self.lock:
            known = self.results.setdefault(job_id, envelope)
            assert known == envelope, f"two results of {job_id}:\n{known!r}\n{envelope!r}"
            if known is envelope:
                self.outcomes[kind] += 1
            else:
                self.asked_again += 1
            self.accepted[job_id] = result.handle

    def watch(self, handle: Handle) -> None:
        """Note that its job was started more than once."""
        with self.lock:
            self.restarted.add(handle.job_id)


def make_work(rng: random.Random) -> Work:
    """Make a job of some kind that is not like another."""
    attempts = rng.choice((1, 2, PATIENT, PATIENT, PATIENT, PATIENT))
    kind = rng.randrange(8)
    if kind < 2:
        limits = Limits(gas=SPIN_GAS, memory_bytes=1 << 20, output_bytes=1 << 20)
        module = writing(b"spinning", then=FOREVER)
        return Work(Submission.of(module, limits=limits, attempts=attempts), "out_of_gas", b"spinning")
    if kind == 2:
        piece = rng.randbytes(20_000)
        module = writing(piece, times=30)
        return Work(Submission.of(module, attempts=attempts), "exited", piece * 30)
    stdin = rng.randbytes(rng.choice((5, 500, 200_000))).hex().encode()
    return Work(Submission.of(HELLO.read_bytes(), stdin=stdin, attempts=attempts), "exited", stdin[::-1])


def use(witness: Witness, seed: int, peer: PeerId, ending: threading.Event) -> None:
    """Be a client until the end: submit, follow, come back for results."""
    rng, client = random.Random(seed), Client()
    try:
        while not ending.is_set():
            if witness.accepted and rng.random() < 0.3:
                handle = rng.choice(list(witness.accepted.values()))
                _persist(ending, partial(_fetch, client, witness, handle))
                continue
            work = make_work(rng)
            handle = work.submission.handle(peer)
            witness.works[handle.job_id] = work
            if rng.random() < 0.5:
                if _persist(ending, partial(client.submit, work.submission, timeout_s=20)):
                    witness.accept(handle)
            else:
                _persist(ending, partial(_run, client, witness, work, handle))
    except BaseException as exc:
        witness.failures.append(exc)
        raise


def _fetch(client: Client, witness: Witness, handle: Handle) -> None:
    witness.end(client.result(handle, timeout_s=20))


def _run(client: Client, witness: Witness, work: Work, handle: Handle) -> None:
    def watch(_phase: str, status: Status | None) -> None:
        if status is not None:
            witness.accept(handle)
            if status.attempt > 1:
                witness.watch(handle)

    witness.end(client.run(work.submission, timeout_s=20, watch=watch))


def _persist(ending: threading.Event, act: Callable[[], object]) -> bool:
    """Do something again and again while there is no daemon. Return whether it was done."""
    while not ending.is_set():
        try:
            act()
            return True
        except _GONE:
            ending.wait(0.05)
    return False


def crash(daemon: Daemon, witness: Witness, rng: random.Random) -> None:
    """Start the daemon, and kill it at any instant: while it starts, or after so many things have happened."""
    process = daemon.launch()
    if rng.random() < 0.1:
        time.sleep(rng.uniform(0, 1))
    else:
        goal, deadline = witness.events + rng.randrange(8), time.monotonic() + END_S
        while not daemon.answers() or witness.events < goal:
            assert process.poll() is None, daemon.said
            assert not witness.failures, witness.failures
            assert time.monotonic() < deadline, daemon.said
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
    children = processes.descendants(process.pid)
    assert process.poll() is None, daemon.said
    daemon.kill()
    gone = processes.wait_until(lambda: not any(map(processes.alive, children)), timeout_s=30)
    assert gone, f"processes outlive their daemon: {[processes.look(pid) for pid in children]}"


def look(daemon: Daemon, witness: Witness) -> dict[str, int]:
    """Look at the state that a daemon left, which had ended all its jobs."""
    with Store(daemon.state, StorageLimits()) as store:
        jobs = list(store._table.present())
        ids = [job.job_id for job in jobs]
        assert len(ids) == len(set(ids)), "one job is there twice"
        assert witness.accepted.keys() <= set(ids), "an accepted job is lost"
        assert not [job for job in jobs if job.state.live], "a job has no result"
        for job in jobs:
            known = witness.results.get(job.job_id)
            assert known is None or known == job.envelope, "the result is not the one that was told"
        return {"kept": len(jobs), "started_again": sum(job.attempt > 1 for job in jobs)}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    rng, witness, ending = random.Random(options.seed), Witness(), threading.Event()
    options.directory.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with Daemon(options.directory) as daemon:
        os.environ.update(daemon.environ)
        daemon.start()
        peer = Client().submit(HELLO.read_bytes()).peer
        daemon.kill()
        clients = [
            threading.Thread(target=use, args=(witness, options.seed + number, peer, ending), daemon=True)
            for number in range(1, CLIENTS + 1)
        ]
        for client in clients:
            client.start()
        for _ in range(options.kills):
            crash(daemon, witness, rng)
        daemon.start()
        ending.set()
        for client in clients:
            client.join(END_S)
            assert not client.is_alive(), "a client waits for ever"
        for handle in list(witness.accepted.values()):
            witness.end(Client().result(handle, timeout_s=END_S))
        if witness.failures:
            raise witness.failures[0]
        assert daemon.terminate() == 0, daemon.said
        found = look(daemon, witness)
        log = daemon.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
    report = {
        "seed": options.seed,
        "kills": options.kills,
        "seconds": round(time.monotonic() - began),
        "submitted": len(witness.works),
        "accepted": len(witness.accepted),
        "ended": len(witness.results),
        "outcomes": dict(witness.outcomes),
        "asked_again": witness.asked_again,
        "seen_restarting": len(witness.restarted),
        **found,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
