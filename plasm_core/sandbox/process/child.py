"""Start child processes for untrusted work, which inherit only the named descriptors.

A child runs `main(spec)` of one module under `python -I -S`, with an empty environment, in its own session.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from plasm_core.errors import SandboxError, StorageError
from plasm_core.resource_hint import process_hint
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.scratch_file import scratch_file

MAX_STATUS_BYTES = 4 << 20
START_S = 60.0
"""How long a zygote or a worker may take until it is ready for a job."""
_STDERR_TAIL = 16_384  # V8 writes a stack trace of several thousand bytes after its reason
_ASK_S = 30
_METER_S = 0.5
_LONGEST_DELAY_S = 0.02
# The specification is a literal of the program: parsing JSON would import a hundred pages into every worker.
_PROGRAM = (
    "import sys; sys.path[:0] = {path!r}; from plasm_core.sandbox.process.title import set_title; "
    "set_title({title!r}); __import__({main!r}); sys.modules[{main!r}].main({spec!r})"
)


def command(python: str, main: str, spec: Mapping[str, Any], title: str) -> list[str]:
    """Return the command line of a child process that calls `main(spec)` of a module. `title`: what `ps` shows.

    `spec` holds None, booleans, integers, strings, and lists and dictionaries of them.
    """
    own = python == sys.executable
    path = _absolute(sys.path) if own else interpreter_path(python)
    packages = [
        __package__.partition(".")[0],
        *([spec["entry"].partition(":")[0].partition(".")[0]] if "entry" in spec else []),
    ]
    roots = list(dict.fromkeys(map(_root, packages)))
    path = roots + [item for item in path if item not in roots]
    return [python, "-I", "-S", "-c", _PROGRAM.format(path=path, main=main, spec=dict(spec), title=title)]


def _absolute(path: Sequence[str]) -> list[str]:
    return [item for item in path if os.path.isabs(item)]


@functools.cache
def _root(name: str) -> str:
    """Return the directory to import a package, or a module that is a single file, from. Raises: `SandboxError`."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SandboxError(f"the module {name} cannot be found")
    place = Path(spec.origin).resolve().parent
    return str(place if spec.submodule_search_locations is None else place.parent)


@functools.cache
def interpreter_path(python: str) -> list[str]:
    """Return the import path of another Python interpreter. Raises: `SandboxError`."""
    question = [python, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    try:
        answer = subprocess.run(question, capture_output=True, timeout=_ASK_S, check=True).stdout
        return _absolute(json.loads(answer))
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        raise SandboxError(f"cannot run the interpreter {python}: {exc}") from exc


@attrs.frozen(kw_only=True)
class ChildReport:
    """How a child process ended: exit code or signal, the status that it wrote, and the end of its stderr."""

    returncode: int
    status: bytes
    stderr: str
    timed_out: bool = False

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that ended the child; None if none did."""
        return signal_name(-self.returncode) if self.returncode < 0 else None


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def child_file() -> IO[bytes]:
    """Return an unnamed file for a child's output. Raises: `SandboxError`."""
    try:
        return scratch_file()
    except StorageError as exc:
        raise SandboxError(f"cannot start a worker: {exc}", hint=exc.hint) from exc


Meter = Callable[[float], None]
"""Called with the processor seconds used since the last call, in the thread that waits."""


def unmetered(_cpu_s: float) -> None:
    """Ignore the processor time."""


def run_child(
    python: str,
    main: str,
    spec: Mapping[str, Any],
    *,
    title: str,
    pass_fds: Sequence[int],
    timeout_s: float,
    meter: Meter = unmetered,
) -> ChildReport:
    """Run a child process to its end, and return its report. `title`: what `ps` shows. Raises: `SandboxError` if it cannot start."""
    with child_file() as status, child_file() as stderr:
        process = start_child(
            python, main, spec, title=title, pass_fds=pass_fds, stdout=status, stderr=stderr
        )
        timed_out = False
        try:
            timed_out = not _wait(process, timeout_s, meter)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        status.seek(0)
        return ChildReport(
            returncode=process.returncode,
            status=status.read(MAX_STATUS_BYTES),
            stderr=tail(stderr),
            timed_out=timed_out,
        )


def _wait(process: subprocess.Popen[bytes], timeout_s: float, meter: Meter) -> bool:
    """Wait for a child's end, metering it, and return whether it came in time. A child that ended is reaped."""
    began, told_s, delay_s = time.monotonic(), 0.0, 0.001
    tell_at = began + _METER_S
    while True:
        pid, how, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(how)
            meter(max(0.0, usage.ru_utime + usage.ru_stime - told_s))
            return True
        now = time.monotonic()
        if now >= tell_at:
            used_s = processor_time_s(process.pid, now - began)
            meter(max(0.0, used_s - told_s))
            told_s, tell_at = max(told_s, used_s), now + _METER_S
        if now - began >= timeout_s:
            return False
        time.sleep(min(delay_s, max(0.0, began + timeout_s - now)))
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


def start_child(
    python: str,
    main: str,
    spec: Mapping[str, Any],
    *,
    title: str,
    pass_fds: Sequence[int],
    stdout: Any,
    stderr: Any,
) -> subprocess.Popen[bytes]:
    """Start a child. Raises: `SandboxError`."""
    try:
        return subprocess.Popen(
            command(python, main, spec, title),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as exc:
        raise SandboxError(
            f"cannot start a worker with {python}: {exc.strerror}", hint=process_hint(exc)
        ) from exc


def reason(stderr: str) -> str:
    """Return the last line of a child's stderr: of a traceback, the error; of V8's report, what failed."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for line in lines:
        found = re.match(r"# (Fatal .*out of memory.*|Check failed: .*)|(\[FATAL:.*)", line)
        if found:
            return (found[1] or found[2])[:500]
    for number in range(len(lines) - 1, -1, -1):
        if re.match(r"[A-Za-z_][\w.]*(Error|Failure|Exception|Interrupt)\b", lines[number]):
            return " ".join(lines[number:])[:500]
    return lines[-1][:500] if lines else "it said nothing"


def ran_out_of_memory(said: str) -> bool:
    """Return whether a child says that an allocation failed, in the words of Rust and wasm3, of Python, or of V8."""
    # V8's check fails where it makes memory for code writable.
    return bool(re.search(r"memory allocation|MemoryError|[Oo]ut of memory|failed: SetPermissions\(", said))


def shortage(stderr: str) -> str | None:
    """Return a hint if a child ran out of memory or file space, else None."""
    if "File too large" in stderr:
        return "the size of files is limited (ulimit -f): raise the limit"
    if not re.search(
        r"MemoryError|memory allocation|[Cc]annot allocate memory|failed to reserve|\bENOMEM\b", stderr
    ):
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return "the machine, or the container's memory limit, has too little memory"
    return (
        f"address space is limited to {limit >> 20} MiB (ulimit -v), and engines reserve several GiB of it unused: "
        "raise the limit, or use --runtime wasm3, which reserves none"
    )


def tail(file: Any) -> str:
    """Return the end of a child's output file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _STDERR_TAIL))
    return str(file.read().decode("utf-8", "replace")).strip()
