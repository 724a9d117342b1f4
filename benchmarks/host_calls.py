"""Measure what a unit of gas buys in host calls: `python benchmarks/host_calls.py [FUNCTION …]`.

Gas is frozen, and a host call costs 1,000 whatever it has to look at, so what a call does must be cheap for the worst
arguments too. Every function of `wasi_snapshot_preview1` is called in a loop, with each of the arguments in
`worst_calls.py`, on each engine that is installed here; those of jobs with files once more, with files. Told are
milliseconds of processor time for a million gas. The exit code is 1 if any is above the bound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.worst_calls import (  # noqa: E402
    WORST,
    WORST_WITH_FILES,
    Call,
    module_calling,
    worst_tree,
)
from plasm_core.errors import PluginError  # noqa: E402
from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.engine import Engine, HostedEngine  # noqa: E402
from plasm_core.plugins.interfaces import Runtime  # noqa: E402
from plasm_core.sandbox.metering.rewrite import meter  # noqa: E402
from plasm_core.sandbox.process import confinement, worker, worker_files, worker_frames  # noqa: E402
from plasm_core.sandbox.process.entry import make  # noqa: E402
from plasm_core.sandbox.wasi.abi import FUNCTIONS  # noqa: E402
from plasm_core.tree_listing import MAX_ENTRIES  # noqa: E402

BOUND_MS = 120.0
"""Milliseconds of processor time that a million gas may buy in host calls."""

_LEAST_S = 0.05
_LEAST_GAS = 1_000_000  # with less, what happens once in a process weighs too much


class Drain:
    """A socket that another process empties, as a daemon does with what its workers write."""

    def __init__(self) -> None:
        self.sock, other = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self.sock.close()
            while other.recv(1 << 20):
                pass
            os._exit(0)
        other.close()

    def close(self) -> None:
        """End the other process."""
        self.sock.close()
        os.waitpid(self._pid, 0)


def _job(call: Call, gas: int) -> worker_frames.WorkerJob:
    files, flags = b"", 0
    if call.entries is not None:
        flags = worker_frames.HAS_FILES
        files = worker_frames.pack_files(
            listing_bytes=worst_tree(call.entries).listing_bytes,
            data_bytes=1 << 30,
            entries=MAX_ENTRIES,
            descriptors=4_096,
            read_only=[],
            outputs=[],
        )
    return worker_frames.WorkerJob(
        worker_frames.pack_job(
            gas=gas,
            memory_bytes=1 << 30,
            output_bytes=1 << 40,
            stdin_bytes=call.stdin_bytes,
            cpu_s=60,
            flags=flags,
            seed=bytes(32),
            args=call.args,
            env=call.env,
            files=files,
        )
    )


class Measuring:
    """Runs calls on one engine."""

    def __init__(self, runtime: Runtime, drain: Drain) -> None:
        self.name = runtime.name
        self._canonical_nans = not runtime.canonical_nans
        self._engine: Engine | HostedEngine = make(runtime.entry, runtime.options())
        self._drain = drain

    def _spent(self, name: str, call: Call, times: int, stdin_fd: int) -> tuple[float, int]:
        """Return seconds of processor time and gas of a job that makes a call so many times."""
        code = meter(module_calling(name, call, times), canonical_nans=self._canonical_nans).code
        job, stdin = _job(call, 2**53 - 1), worker.FileStdin(stdin_fd, call.stdin_bytes)
        send, pack_fd = (
            worker.sender(self._drain.sock),
            None if call.entries is None else worst_tree(call.entries).fd,
        )
        if isinstance(self._engine, HostedEngine):
            hosted = self._engine.load(self._engine.compile(code))
            files = (
                None if job.files is None else worker_files.guest_files(job.files, pack_fd, self._drain.sock)
            )
            started = time.process_time()
            ended = worker.run_hosted(hosted, job, stdin, send, files)
        else:
            host, instance = worker.make_instance(self._engine.load(self._engine.compile(code)))
            sent = worker_files.SentDescriptors([] if pack_fd is None else [pack_fd], job.flags)
            started = time.process_time()
            ended = worker.run(instance, host, job, stdin, send, sent)
        spent_s = time.process_time() - started
        kind, _, _, gas, *_, detail = worker_frames.unpack_outcome(ended)
        if kind != "exited":
            raise RuntimeError(f"{name}, {call.label}: {kind} {detail}")
        return spent_s, gas

    def measure(self, name: str, call: Call) -> float:
        """Return the milliseconds of processor time that a million gas buys, of enough calls to tell.

        What a job costs that makes next to no call, such as reading the listing, is left out.
        """
        stdin_fd = os.memfd_create("stdin")
        os.ftruncate(stdin_fd, call.stdin_bytes)
        try:
            if call.once:
                spent_s, gas = self._spent(name, call, 1, stdin_fd)
                return spent_s * 1e9 / gas
            times, (least_s, least_gas) = 8, self._spent(name, call, 1, stdin_fd)
            while True:
                spent_s, gas = self._spent(name, call, times, stdin_fd)
                spent_s, gas = max(0.0, spent_s - least_s), gas - least_gas
                if spent_s >= max(_LEAST_S, least_s / 2) and gas >= _LEAST_GAS:
                    return spent_s * 1e9 / gas
                times *= 4
        finally:
            os.close(stdin_fd)


def runtimes() -> list[Runtime]:
    """Return the runtimes that work in this interpreter."""
    found = []
    for name in ("wasmtime", "wasm3", "v8", "wasmer"):
        with contextlib.suppress(PluginError):
            runtime = loading.create(Runtime, name, {})  # type: ignore[type-abstract]
            if runtime.python() == sys.executable:
                found.append(runtime)
    return found


def _in_child(runtime: Runtime, drain: Drain, name: str, calls: Sequence[Call]) -> list[float]:
    """Measure calls of one function in a process of its own: V8 keeps the address space of each memory that it had."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        measuring = Measuring(runtime, drain)
        figures = [measuring.measure(name, call) for call in calls]
        os.write(writing, json.dumps(figures).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read()
    os.waitpid(pid, 0)
    return [float(figure) for figure in json.loads(told)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="those to measure (default: all)")
    asked = parser.parse_args().functions or sorted(FUNCTIONS)
    confinement.allow_deep_stack()
    drain = Drain()
    found = runtimes()
    most = 0.0
    names = " ".join(f"{item.name:>9}" for item in found)
    sys.stdout.write(f"{'ms of processor time for a million gas':48} {names}\n")
    sys.stdout.flush()
    for name in asked:
        calls = (*WORST[name], *WORST_WITH_FILES.get(name, ()))
        for call in calls:
            if call.entries is not None:
                worst_tree(call.entries)  # here, so that no child has to make it
        columns = [_in_child(runtime, drain, name, calls) for runtime in found]
        for call, row in zip(calls, zip(*columns, strict=True), strict=True):
            most = max(most, *row) if not call.once else most
            label = f"{name}, {call.label}" + ("" if call.entries is None else " (files)")
            sys.stdout.write(f"{label:48} {' '.join(f'{ms:9.1f}' for ms in row)}\n")
            sys.stdout.flush()
    drain.close()
    sys.stdout.write(f"most {most:.1f}, bound {BOUND_MS:.0f}, {len(asked)} functions\n")
    return int(most > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
