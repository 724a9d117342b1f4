"""Pages that fork copies at once: that they cost no page fault, and that all works where none can be pinned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.sandbox.process.zygote_messages import pack_pids, pack_ready, unpack_pids, unpack_ready
from tests.support import processes
from tests.support.hostile import HostileRuntime, ask, program_of
from tests.support.lab import open_lab
from tests.support.receipts import ROOT
from tests.support.wat import FOREVER, writing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

PAGES = 400
COUNT_FAULTS = f"""
import json, mmap, os
from plasm_core.sandbox.process.page_pinning import Pins

area = mmap.mmap(-1, {PAGES} * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

def write():
    for at in range(0, len(area), mmap.PAGESIZE):
        area[at] ^= 1

def faults_of_a_child():
    pid = os.fork()
    if pid == 0:
        write()
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_minflt

write()
pins = Pins()
if not pins.prepare():
    raise SystemExit("no io_uring here")
shared = faults_of_a_child()
written, go_on = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    write()
    os.write(written[1], b"x")
    os.read(go_on[0], 1)
    os._exit(0)
os.read(written[0], 1)
pins.pin_copied()
os.write(go_on[1], b"x")
os.waitpid(pid, 0)
copied = faults_of_a_child()
write()
print(json.dumps([pins.pinned, shared, copied]))
"""


def test_a_child_takes_no_page_faults_for_what_is_pinned() -> None:
    answer = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, timeout=60)
    if "no io_uring" in answer.stderr:
        pytest.skip(answer.stderr.strip())
    assert answer.returncode == 0, answer.stderr
    pinned, shared, copied = json.loads(answer.stdout)

    if not pinned:
        pytest.skip("so much memory may not be locked here")
    assert shared >= PAGES
    assert copied < shared - PAGES + PAGES // 10


LEFT_OPEN = """
import json, os, resource, sys, tempfile
from pathlib import Path
{first}
from tests.support import processes
from tests.support.lab import open_lab
from tests.support.receipts import ROOT
from tests.support.wat import FOREVER, writing

with tempfile.TemporaryDirectory() as directory, open_lab(Path(directory), isolation={isolation!r}) as lab:
    with lab.running(lab.admit(writing(b"x", then=FOREVER)), stdin=b"{stdin}") as (ended, cancelled):
        [worker] = processes.workers(os.getpid())
        [zygote] = processes.zygotes(os.getpid())
        # A zygote closes the daemon's end of a worker's line once it has sent it: the job may run by then.
        processes.wait_until(lambda: len(processes.sockets(zygote)) == 1)
        print(json.dumps([sorted(processes.descriptors(pid).values()) for pid in (worker, zygote)]))
        cancelled.set()
"""
NO_IO_URING = """
import errno, pyseccomp
rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "io_uring_setup")
rules.load()
"""
NO_PINS = """
import errno, pyseccomp
rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.ENOMEM), "io_uring_register")
rules.load()
"""
NO_LOCKED_MEMORY = "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))"


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else may look into a worker")
@pytest.mark.parametrize("isolation", ["process", "shared"])
@pytest.mark.parametrize("stdin", ["", "in"])
@pytest.mark.parametrize(
    "first", ["", NO_IO_URING, NO_PINS, NO_LOCKED_MEMORY], ids=["pins", "no-ring", "no-pins", "no-memory"]
)
def test_a_worker_has_no_descriptor_but_its_line_and_its_input(
    first: str, stdin: str, isolation: str
) -> None:
    """None of /proc above all, whose files tell of the zygote that opened them."""
    program = LEFT_OPEN.format(first=first, stdin=stdin, isolation=isolation)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    worker, zygote = json.loads(done.stdout)

    silence = ["/dev/null"] * 3
    # The engine's own: what a module's memory begins with, sealed.
    worker, zygote = (
        [name for name in names if "wasm-memory-image" not in name] for names in (worker, zygote)
    )
    sockets = [name for name in worker if name.startswith("socket:")]
    inputs = [name for name in worker if name.startswith("/memfd:plasm-stdin")]
    assert (len(sockets), len(inputs)) == (1, 1 if stdin else 0)
    assert sorted(worker) == sorted([*silence, *sockets, *inputs])
    rest = [name for name in zygote if name not in ("/dev/null", "anon_inode:[io_uring]")]
    assert all(name.startswith("socket:") for name in rest), zygote
    assert len(rest) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else may look into a worker")
def test_each_of_the_workers_forked_together_has_one_line_of_its_own(tmp_path: Path) -> None:
    """A worker that held another's line could speak for it."""
    with open_lab(tmp_path) as lab:
        program = lab.admit(writing(b"x", then=FOREVER))
        for _ in range(2):  # from the second job on, workers are forked ahead
            with lab.running(program):
                pass
        with lab.running(program):
            workers = processes.workers(os.getpid())
            assert len(workers) > 2
            assert processes.wait_until(lambda: all(len(processes.sockets(pid)) == 1 for pid in workers))
            lines = [line for pid in workers for line in processes.sockets(pid)]

            assert len(set(lines)) == len(lines)
            [zygote] = processes.zygotes(os.getpid())
            assert processes.wait_until(lambda: len(processes.sockets(zygote)) == 1)


@pytest.mark.parametrize("without", [(), ("pinning",)])
def test_workers_serve_whether_or_not_pages_can_be_pinned(tmp_path: Path, without: tuple[str, ...]) -> None:
    with open_lab(tmp_path) as lab, program_of(HostileRuntime(without=without)) as program:
        answers = [ask(lab.executor, program, "process") for _ in range(12)]

        assert {str(outcome) for outcome, _ in answers} == {"exited with code 0"}
        pids = {said["detail"] for _, said in answers}
        assert len(pids) == len(answers)
        assert os.getpid() not in pids


@pytest.mark.parametrize("missing", [{}, {"landlock": "Function not implemented"}, {"a": "", "b": "x y"}])
def test_what_a_zygote_says_first_is_read_as_it_was_meant(missing: dict[str, str]) -> None:
    assert unpack_ready(pack_ready(missing)) == missing


@pytest.mark.parametrize("said", [b"", b"\0", b"ready\0landlock", b"steady", b"\xff", b"ready\0a\0b\0c"])
def test_nonsense_from_a_zygote_is_refused(said: bytes) -> None:
    with pytest.raises(ValueError, match="not ready"):
        unpack_ready(said)


@pytest.mark.parametrize("pids", [[], [1], [12, 4_194_304]])
def test_process_ids_of_a_batch_survive(pids: list[int]) -> None:
    assert pack_pids(pids)
    assert unpack_pids(pack_pids(pids)) == pids
