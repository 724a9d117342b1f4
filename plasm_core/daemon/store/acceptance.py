"""Accepting a job: its inputs are received, checked against the manifest, and stored durably with the job."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

import attrs

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import Allowance, Budget
from plasm_core.daemon.store.database import Change, Database
from plasm_core.daemon.store.inputs import StagedInputs
from plasm_core.daemon.store.job import Job, StoredSubmission
from plasm_core.daemon.store.job_table import JobTable
from plasm_core.daemon.store.known_jobs import KnownJobs
from plasm_core.daemon.store.live_job import LiveJob
from plasm_core.daemon.store.modules import Modules, Pin
from plasm_core.daemon.store.recent import Recent
from plasm_core.daemon.store.trees import Trees
from plasm_core.errors import RefusedError
from plasm_core.fair_shares import Holder
from plasm_core.records import Manifest, job_id


@attrs.frozen(kw_only=True)
class JobAcceptance:
    """Takes the inputs of new jobs, and stores accepted jobs. Thread-safe.

    `directory` holds the jobs' directories. `current` returns the present state of a job that was read from the disk.
    `output_reserve_bytes`: the most that is reserved for the outputs of one job.
    """

    directory: Path
    live: dict[int, LiveJob]
    lock: threading.RLock
    recent: Recent
    known: KnownJobs
    table: JobTable
    database: Database
    ballast: Ballast
    budget: Budget
    modules: Modules
    trees: Trees
    clock: Callable[[], datetime]
    current: Callable[[Job], Job]
    output_reserve_bytes: int

    def stage(self, manifest: Manifest, sizes: Mapping[str, int], holder: Holder) -> StagedInputs:
        """Begin to receive a job's inputs, of the sizes announced for `args`, `env` and `stdin`.

        Bytes are reserved for all of them, and some for the outputs, in the share of the holder.

        Raises: `StorageFullError`, `StorageError`.
        """
        reserved = self.staged_bytes(manifest, sizes)
        self.ballast.demand()
        allowance = Allowance(self.budget, reserved, holder)
        try:
            return StagedInputs(self.directory / secrets.token_hex(8), sizes, allowance, self.ballast)
        except BaseException:
            allowance.settle(0)
            raise

    def staged_bytes(self, manifest: Manifest, sizes: Mapping[str, int]) -> int:
        """Return how many bytes `stage` reserves."""
        return sum(sizes.values()) + self._output_reserve(manifest)

    def _output_reserve(self, manifest: Manifest) -> int:
        return min(self.output_reserve_bytes, 2 * manifest.limits.output_bytes)

    def accepting(
        self,
        inputs: StagedInputs,
        *,
        manifest: Manifest,
        manifest_json: bytes,
        token: bytes,
        route: str,
        holder: Holder,
    ) -> Future[StoredSubmission]:
        """Accept a job whose inputs, module and files are complete. It is durable when the future is done.

        If the store has a job with this manifest and token, also a deleted one, it is returned instead. In that case,
        and after any error, the inputs are discarded. `holder` is stored with the job: its names must be keyed
        digests, which do not identify the client. `manifest` is the parsed `manifest_json`.

        Raises: `RefusedError` (`digest_mismatch`; `module_missing`), `StorageError`; the future has `StorageError`.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(inputs.discard)
            inputs.check(manifest)
            pins = self._pinned(manifest)
            for pin in pins:
                undo.callback(pin.release)
            inputs.sync()
            contents = inputs.contents()
            work = self.table.accepting(
                manifest,
                manifest_json,
                token,
                identity=job_id(manifest_json),
                accepted_at=self.clock(),
                input_bytes=sum(inputs.received.values()),
                contents=contents,
                reserved_bytes=self._output_reserve(manifest),
                directory=inputs.directory.name,
                route=route,
                holder=holder,
            )
            undo.pop_all()

        def give_up() -> None:
            inputs.discard()
            for pin in pins:
                pin.release()

        def accept(sql: sqlite3.Connection) -> StoredSubmission:
            job, created = work(sql)
            return StoredSubmission(job=job, created=created)

        def committed(accepted: StoredSubmission) -> StoredSubmission:
            job = accepted.job
            if not accepted.created:
                give_up()
                return attrs.evolve(accepted, job=self.current(job))
            job.take_manifest(manifest)
            self.known.add(job.job_id)
            if job.tree:
                self.trees.retain(job.tree)
            with self.lock:
                self.live[job.row] = LiveJob(
                    job.changed(manifest_json=b""),
                    inputs.hand_over(),
                    pins,
                    has_files=not inputs.is_small,
                )
            if inputs.is_small:
                self.recent.put(job.row, job, contents, len(manifest_json))
            return accepted

        return self.database.submit(
            Change(doing="accept a job", work=accept, committed=committed, failed=give_up)
        )

    def _pinned(self, manifest: Manifest) -> tuple[Pin, ...]:
        """Pin a job's module and files. Raises: `RefusedError` (`module_missing`) if they are gone."""
        pin = self.modules.pin(manifest.module)
        if pin is None:
            raise RefusedError("module_missing", "the module was deleted: send it again")
        if manifest.files is None:
            return (pin,)
        tree = self.trees.pin(manifest.files.tree)
        if tree is None:
            pin.release()
            raise RefusedError("module_missing", "the files were deleted: send them again")
        return pin, tree
