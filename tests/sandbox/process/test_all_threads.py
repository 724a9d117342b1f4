"""The filter that a worker with threads installs in all of them: it is in all of them, or the worker knows."""

from __future__ import annotations

import errno
import subprocess
import sys

import pyseccomp
import pytest

from plasm_core.scratch_file import scratch_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no seccomp here")

SCRIPT = """
import os, sys, threading
from plasm_core.sandbox.process import confinement

program = bytes.fromhex(sys.argv[1])
confinement._prctl(confinement._PR_SET_NO_NEW_PRIVS, 1)
started, ending = threading.Event(), threading.Event()

def other():
    if sys.argv[2] == "apart":
        confinement.prepared_filter(program)()
    started.set()
    ending.wait()

threading.Thread(target=other).start()
started.wait()
try:
    confinement.filter_all_threads(program)
except OSError as exc:
    print("refused", exc.strerror)
filters = [
    next((line.split()[1] for line in open(f"/proc/self/task/{thread}/status") if line.startswith("Seccomp:")), "")
    for thread in os.listdir("/proc/self/task")
]
print(*sorted(filters))
sys.stdout.flush()
os._exit(0)
"""


def _program() -> str:
    """Return a filter that denies one system call, in hexadecimal."""
    program = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    program.add_rule(pyseccomp.ERRNO(errno.EPERM), "ptrace")
    with scratch_file() as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read().hex()


def _said(how: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, _program(), how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_filter_reaches_every_thread() -> None:
    assert _said("together") == ["2 2"]


def test_a_thread_that_cannot_have_the_filter_is_an_error() -> None:
    """The kernel then returns the thread's id, which is no negative number, and filters no thread at all."""
    refused, filters = _said("apart")

    assert refused.startswith("refused the thread ")
    assert filters == "0 2"
