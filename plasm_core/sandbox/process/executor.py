"""Runs jobs on admitted programs, each in a worker process: a fresh one, or a shared one of the same client."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading

import attrs

from plasm_core.config import SandboxConfig
from plasm_core.errors import RefusedError, SandboxError
from plasm_core.records.manifest import MAX_ARGUMENT_BYTES, JobInput, Manifest
from plasm_core.records.run import Run
from plasm_core.sandbox.process.child import Meter, unmetered
from plasm_core.sandbox.process.collected_files import CollectedFiles
from plasm_core.sandbox.process.idle_worker import Worker
from plasm_core.sandbox.process.kill_cause import kills
from plasm_core.sandbox.process.pool import program_key, workers_for
from plasm_core.sandbox.process.supervision import OutputSink, StdinFile, Supervision
from plasm_core.sandbox.program import Program

MAX_SHARED_WORKERS = 32
SHARED_BYTES = 64 << 20
"""What a shared worker takes while it has no job: the engine, its code, an instance that has not run."""
_NODE_SHARE = 0.4
"""What all runs together may take of one processor in the node's own process, to receive and keep their output."""


class Executor:
    """Runs jobs in workers: each in a new one or, with isolation `shared`, in one of the same client."""

    def __init__(self, config: SandboxConfig) -> None:
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            raise SandboxError(
                "this process ignores SIGCHLD, so it cannot learn how a worker ends",
                hint="call signal.signal(signal.SIGCHLD, signal.SIG_DFL) first",
            )
        self.isolation = config.isolation
        self._jobs = config.jobs_per_shared_worker if config.isolation == "shared" else 1
        self._workers = workers_for(config)
        self._shared: collections.OrderedDict[Worker, None] = collections.OrderedDict()
        self._ending: list[int] = []
        self._running = 0
        self._lock = threading.Lock()
        self._spare_bytes = float("inf")
        kills()  # kills from before the start did not hit our workers

    @property
    def idle_bytes(self) -> int:
        """The memory in bytes that zygotes and idle workers take."""
        with self._lock:
            return self._workers.idle_bytes + len(self._shared) * SHARED_BYTES

    def make_room(self, spare_bytes: int) -> None:
        """Limit the memory of zygotes and idle workers to `spare_bytes` from now on.

        Quick: they are ended elsewhere.
        """
        self._spare_bytes = spare_bytes
        self._workers.spare_bytes = spare_bytes

    def _discard_beyond(self, spare_bytes: float) -> None:
        """End idle shared workers, the longest idle first, until they fit into the spare memory."""
        discarded = []
        with self._lock:
            while self._shared and len(self._shared) * SHARED_BYTES > spare_bytes:
                discarded.append(self._shared.popitem(last=False)[0])
        for worker in discarded:
            worker.discard()

    @property
    def missing(self) -> dict[str, str]:
        """The sandbox layers that the last worker lacked, with the reasons."""
        return self._workers.missing

    def run(
        self,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        *,
        client: str = "",
        cancelled: threading.Event | None = None,
        stdin: StdinFile | None = None,
        close_program: bool = False,
        files: CollectedFiles | None = None,
        meter: Meter = unmetered,
    ) -> Run:
        """Run a job to its end. `client`: the job's owner; a shared worker serves the jobs of one owner only.

        `stdin`: an open file with the standard input, in place of the one in `inputs`; the caller closes it. `files`:
        the job's files, which also receives its outputs. `close_program`: close the program as soon as a worker has
        it, which frees its memory. `meter` receives the processor time of all processes that serve the job, also of a
        job that fails: every second while the job runs, and the rest at its end.

        Raises: `RefusedError` if args and env are too large; `SandboxError` if no worker can be started.
        """
        if sum(map(len, (*inputs.args, *inputs.env))) > MAX_ARGUMENT_BYTES:
            raise RefusedError("input_too_large", f"args and env have more than {MAX_ARGUMENT_BYTES} bytes")
        with self._lock:
            self._running += 1
        try:
            for _ in range(3):
                worker = self._take(program, manifest, client, meter)
                run = Supervision(
                    *(
                        self,
                        worker,
                        program,
                        manifest,
                        inputs,
                        output,
                        cancelled,
                        stdin,
                        close_program,
                        files,
                    ),
                    meter=meter,
                ).run()
                if run is not None:
                    return run
        finally:
            with self._lock:
                self._running -= 1
        raise SandboxError("three workers ended before they took the job")

    @property
    def node_share(self) -> float:
        """The share of one processor, 0 to 1, that one run may take in this process now."""
        return _NODE_SHARE / max(1, self._running)

    def _take(self, program: Program, manifest: Manifest, client: str, meter: Meter) -> Worker:
        self._discard_beyond(self._spare_bytes)
        jobs = min(self._jobs, program.runtime.jobs_per_worker)
        if jobs == 1:
            return self._workers.take(program, jobs=1, meter=meter)
        files = None if manifest.files is None else attrs.asdict(manifest.files.limits)
        key = json.dumps([client, program_key(program), manifest.limits.memory_bytes, files])
        with self._lock:
            found = next((worker for worker in self._shared if worker.key == key), None)
            if found is not None:
                del self._shared[found]
        if found is not None:
            if found.is_silent():
                return found
            found.discard()
        worker = self._workers.take(program, jobs=jobs, meter=meter)
        worker.key, worker.jobs = key, jobs
        return worker

    def keep(self, worker: Worker) -> bool:
        """Keep a shared worker for its client's next job. Return whether it was kept."""
        worker.served += 1
        if worker.served >= worker.jobs:
            return False
        with self._lock:
            self._shared[worker] = None
        self._discard_beyond(min(self._spare_bytes, MAX_SHARED_WORKERS * SHARED_BYTES))
        return True

    def reap_later(self, pid: int) -> None:
        """Take over a killed worker, and reap those that have ended."""
        with self._lock:
            self._ending.append(pid)
            self._ending = [pid for pid in self._ending if os.waitpid(pid, os.WNOHANG)[0] == 0]

    def close(self) -> None:
        """End all idle workers, and reap those that are ending."""
        with self._lock:
            for pid in self._ending:
                os.waitpid(pid, 0)
            self._ending = []
            for worker in self._shared:
                worker.discard()
            self._shared.clear()
        self._workers.close()
