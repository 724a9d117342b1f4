"""Run the attempts of `tests.support.attempts` in real workers, or in ordinary processes to compare with.

As a command it prints a `Report` as JSON; so it can be run as another user.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import pyseccomp

from plasm_core.config import SandboxConfig
from plasm_core.plugins.interfaces import Runtime, Validator
from plasm_core.records import JobInput, Manifest, Outcome, manifest_for, sha256
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.executor import Executor
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.sandbox.program import ModuleInfo, Program
from tests.support import processes
from tests.support.attempts.catalogue import ALLOWED, ATTEMPTS, action_named
from tests.support.attempts.questions import MAX_CALL
from tests.support.attempts.trying import Whereabouts, set_numbers, try_action
from tests.support.hostile_engine import TAKEN_AWAY

MODULE = b"\0asm\x01\0\0\0"


def syscall_numbers() -> dict[str, int]:
    """Return the numbers of all system calls of this processor that libseccomp knows, by name."""
    found = {}
    for number in range(MAX_CALL):
        try:
            name = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number)
        except ValueError:
            continue
        found[name.decode()] = number
    return found


@attrs.frozen(kw_only=True)
class HostileRuntime(Runtime):
    """A runtime whose engine makes attempts. `without`: layers that its processes are to find missing."""

    name: ClassVar[str] = "hostile"
    entry: ClassVar[str] = "tests.support.hostile_engine:HostileEngine"
    features: ClassVar[frozenset[str]] = frozenset()

    without: tuple[str, ...] = ()

    def options(self) -> dict[str, object]:
        return {"numbers": syscall_numbers(), "without": list(self.without)}

    def version(self) -> str:
        return "0"


class HostileThreadedRuntime(HostileRuntime):
    """The same as an engine with threads, such as V8: each worker starts by itself, and may make code."""

    name: ClassVar[str] = "hostile"
    forks: ClassVar[bool] = False


class HostileValidator(Validator):
    """A validator that makes attempts."""

    name: ClassVar[str] = "hostile"
    entry: ClassVar[str] = "tests.support.hostile_engine:HostileValidator"

    def options(self) -> dict[str, object]:
        return {"numbers": syscall_numbers()}

    def version(self) -> str:
        return "0"


def program_of(runtime: Runtime, *, module: bytes = MODULE, artefact: bytes = b"artefact") -> Program:
    """Return a program that was never admitted. The caller closes it."""
    info = ModuleInfo(
        size_bytes=len(module),
        imports=[],
        exports=[],
        memory_min_pages=1,
        memory_max_pages=None,
        tables=0,
        functions=0,
        features=[],
        has_start=False,
    )
    blob = sealed_blob("plasm-artefact", [artefact])
    return Program(digest=sha256(module), info=info, runtime=runtime, artefact_fd=blob)


def job_of(what: str, *pids: int, stdin: bytes = b"", wall_time_s: int = 60) -> tuple[Manifest, JobInput]:
    """Return the job that makes an attempt, aimed at processes: the daemon, then a sibling."""
    inputs = JobInput(args=(what.encode(), *(str(pid).encode() for pid in pids)), stdin=stdin)
    return manifest_for(MODULE, inputs, wall_time_s=wall_time_s), inputs


def ask(
    executor: Executor, program: Program, what: str, *pids: int, client: str = "", stdin: bytes = b""
) -> tuple[Outcome, dict[str, Any]]:
    """Have a worker make an attempt. Return the job's outcome and what the worker said of it."""
    manifest, inputs = job_of(what, *pids, stdin=stdin)
    answer = bytearray()
    run = executor.run(program, manifest, inputs, lambda _stream, data: answer.extend(data), client=client)
    return run.outcome, json.loads(answer or b"{}")


def threaded_report(names: Sequence[str]) -> dict[str, Any]:
    """Make attempts, each in a worker that starts by itself, as those of an engine with threads do."""
    results = {}
    executor = Executor(SandboxConfig())
    try:
        with program_of(HostileThreadedRuntime()) as program:
            sibling = executor._workers.take(program, jobs=1)
            for name in names:
                outcome, said = ask(
                    executor, program, name, os.getpid(), sibling.pid, stdin=b"standard input"
                )
                results[name] = {"outcome": str(outcome), "errno": None, "detail": None, **said}
            missing = executor.missing
            sibling.discard()
    finally:
        executor.close()
    return {"uid": os.getuid(), "missing": missing, "results": results}


def report(names: Sequence[str], *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Make attempts, each in a worker of its own, some layers being taken away."""
    if "seccomp" in without:
        none = {"filter": None, "filter_missing": TAKEN_AWAY}
        setattr(seccomp_filters, "loading", lambda: none)  # noqa: B010
        setattr(seccomp_filters, "running", lambda: none)  # noqa: B010
    results = {}
    executor = Executor(SandboxConfig())
    try:
        with program_of(HostileRuntime(without=tuple(without))) as program:
            for _ in range(3):  # so that there are workers waiting: siblings
                ask(executor, program, "process")
            daemon = os.getpid()
            processes.wait_until(lambda: len(processes.workers(daemon)) > 2)
            for name in names:
                sibling = processes.workers(daemon)[-1]
                outcome, said = ask(executor, program, name, daemon, sibling, stdin=b"standard input")
                results[name] = {"outcome": str(outcome), "errno": None, "detail": None, **said}
            missing = executor.missing
    finally:
        executor.close()
    return {"uid": os.getuid(), "missing": missing, "results": results}


def bare_report(names: Sequence[str]) -> dict[str, Any]:
    """Make attempts, each in a process of its own that nothing is taken from."""
    set_numbers(syscall_numbers())
    sibling = os.fork()
    if sibling == 0:
        time.sleep(600)
        os._exit(0)
    try:
        results = {name: _bare(name, Whereabouts(os.getpid(), sibling)) for name in names}
    finally:
        os.kill(sibling, signal.SIGKILL)
        os.waitpid(sibling, 0)
    return {"uid": os.getuid(), "missing": {}, "results": results}


def _bare(name: str, where: Whereabouts) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        result = try_action(action_named(name), where)
        os.write(writing, json.dumps(result, default=repr).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # One that became another program says nothing.
    return {
        "outcome": f"exited with code {status}",
        "errno": None,
        "detail": None,
        **json.loads(said or b"{}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bare", action="store_true", help="take nothing from the processes")
    parser.add_argument("--threaded", action="store_true", help="as an engine with threads, such as V8")
    parser.add_argument("--without", action="append", default=[], metavar="LAYER")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    names = options.names or [
        name
        for name, attempt in {**ATTEMPTS, **ALLOWED}.items()
        if not options.bare or attempt.control != "none"
    ]
    if options.bare:
        made = bare_report(names)
    elif options.threaded:
        made = threaded_report(names)
    else:
        made = report(names, without=options.without)
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
