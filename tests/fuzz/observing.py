"""What an engine makes of a metered module, and a process that says so of many: `python observing.py ENTRY OPTIONS`.

It runs under the engine's own interpreter, which may lack all of Plasm's dependencies: standard library only. Each
line of its input is a list of modules as [code in hexadecimal, whether it has a start function], each line it
answers the list of what was observed. A batch runs in a process forked for it; a module that ends this process is
known by how, and the others run in a new one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

from plasm_core.plugins.engine import Engine, EngineFailure, HostedEngine
from plasm_core.sandbox.process import worker, worker_frames
from plasm_core.sandbox.process.confinement import allow_deep_stack
from plasm_core.trap_kinds import TRAP_KINDS

GAS = 200_000
MEMORY_BYTES = 16 << 20
OUTPUT_BYTES = 1 << 16
STDIN = bytes(range(256)) * 16
HANG_S = 60
_WAITING_S = 20 * HANG_S

Seen = tuple[str, int, int, str, str]
"""Outcome, exit code, gas used, and the digests of stdout and stderr."""


def observe(engine: Engine | HostedEngine, code: bytes, *, has_start: bool, stdin_fd: int) -> Seen | str:
    """Return what an engine makes of a module, or why that is a system error."""
    digests = {1: hashlib.sha256(), 2: hashlib.sha256()}
    job = worker_frames.WorkerJob(
        worker_frames.pack_job(
            gas=GAS,
            memory_bytes=MEMORY_BYTES,
            output_bytes=OUTPUT_BYTES,
            stdin_bytes=len(STDIN),
            cpu_s=60,
            flags=worker_frames.HAS_START if has_start else 0,
            seed=bytes(32),
            args=(b"one", b"two"),
            env=(b"NAME=value",),
        )
    )
    stdin = worker.FileStdin(stdin_fd, len(STDIN))

    def output(stream: int, data: bytes) -> None:
        digests[stream].update(data)

    try:
        if isinstance(engine, HostedEngine):  # its artefact is the module: loading compiles it
            packed = worker.run_hosted(engine.load(code), job, stdin, output)
        else:
            host, instance = worker.make_instance(engine.load(engine.compile(code)))
            packed = worker.run(instance, host, job, stdin, output)
    except EngineFailure as exc:
        return f"compiling: {exc}"
    kind, exit_code, trap, gas, _, _, detail = worker_frames.unpack_outcome(packed)
    if kind == "system_error":
        return detail
    word = f"trapped ({TRAP_KINDS[trap]})" if kind == "trapped" else kind
    return word, exit_code, gas, digests[1].hexdigest(), digests[2].hexdigest()


def _in_a_child(engine: Engine | HostedEngine, modules: list[tuple[str, bool]], stdin_fd: int) -> list[Any]:
    """Observe modules in a process of their own. The last that is told of is the one that ended it, if one did."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            signal.setitimer(signal.ITIMER_PROF, HANG_S)  # processor time: a busy machine is no hang
            signal.alarm(_WAITING_S)
            for code_hex, has_start in modules:
                seen: object
                try:
                    seen = observe(engine, bytes.fromhex(code_hex), has_start=has_start, stdin_fd=stdin_fd)
                except Exception as exc:
                    seen = f"raises {type(exc).__name__}: {exc}"
                os.write(writing, json.dumps(seen).encode() + b"\n")
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        seen_so_far: list[Any] = [json.loads(line) for line in lines]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status and len(seen_so_far) < len(modules):
        seen_so_far.append(f"dies: {status}")
    return seen_so_far


def main(entry: str, options: dict[str, Any]) -> NoReturn:
    """Serve until standard input ends. Whatever the engine prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    allow_deep_stack()
    stdin_fd = os.memfd_create("stdin")
    os.write(stdin_fd, STDIN)
    module, _, name = entry.partition(":")
    engine: Engine | HostedEngine = getattr(importlib.import_module(module), name)(**options)
    for line in sys.stdin:
        modules = json.loads(line)
        seen: list[Any] = []
        while len(seen) < len(modules):
            seen += _in_a_child(engine, modules[len(seen) :], stdin_fd)
        answers.write(json.dumps(seen) + "\n")
        answers.flush()
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
