"""The life of zygotes and workers: when they start, are used again, and end, by any cause."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from plasm_core.config import SandboxConfig
from plasm_core.errors import SandboxError
from plasm_core.records import Outcome
from plasm_core.sandbox.process import executor
from plasm_core.sandbox.process.pool import LEAST_BYTES
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_core.sandbox.process.zygote_process import resident_bytes
from plasm_core.testing.bench import module_named
from tests.support import processes, wat
from tests.support.cgroups import memory_group
from tests.support.cli import Plasm
from tests.support.lab import Job, Lab, open_lab
from tests.support.processes import gone
from tests.support.users import USERS, interpreter_of
from tests.support.wat import FOREVER, exiting, writing

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
    ),
]

SUCCESS = Outcome(kind="exited", code=0)
ENDLESS = writing(b"running", then=FOREVER)
SELF = os.getpid()


def only_zygote() -> int:
    """Return the one zygote there is."""
    [zygote] = processes.zygotes(SELF)
    return zygote


# -- the node begins


def test_a_node_that_could_not_learn_how_workers_end_does_not_begin() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(SandboxError, match="ignores SIGCHLD"):
            executor.Executor(SandboxConfig())
    finally:
        signal.signal(signal.SIGCHLD, before)


# -- the node ends


@pytest.fixture
def anyones_directory() -> Iterator[str]:
    """A directory that every user may write to, which none below pytest's own is."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield path


@pytest.mark.parametrize("user", USERS)
def test_no_process_survives_a_killed_node(user: str, anyones_directory: str) -> None:
    directory = f"{anyones_directory}/cache"
    with interpreter_of(user).start("-m", "tests.support.busy_node", directory, "50", "wasmtime") as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"all run\n"
        workers, zygotes = processes.workers(node.pid), processes.zygotes(node.pid)
        descendants = processes.descendants(node.pid)  # last: more workers may be forked meanwhile
        node.kill()
        node.wait()

        assert len(workers) >= 50
        assert len(zygotes) == 1
        assert descendants >= {*workers, *zygotes}
        assert processes.wait_until(lambda: not any(map(processes.alive, descendants)), timeout_s=5)


@pytest.mark.parametrize("user", USERS)
def test_no_worker_without_a_zygote_survives_a_killed_node(user: str, anyones_directory: str) -> None:
    pytest.importorskip("py_mini_racer")
    directory = f"{anyones_directory}/cache"
    with interpreter_of(user).start("-m", "tests.support.busy_node", directory, "3", "v8") as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"all run\n"
        descendants = processes.descendants(node.pid)
        node.kill()
        node.wait()

        assert len(descendants) == 3
        assert processes.wait_until(lambda: not any(map(processes.alive, descendants)), timeout_s=5)


def test_closing_ends_zygotes_and_idle_workers(directory: Path) -> None:
    others = processes.descendants(SELF)
    with open_lab(directory) as lab:
        program = lab.hostile()
        for _ in range(3):
            lab.process(program)
        assert processes.wait_until(lambda: len(processes.workers(SELF)) > 3)
        there = processes.descendants(SELF) - others

    assert len(there) > 3
    assert all(map(gone, there))


# -- a worker ends


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGTERM, "(SIGTERM)"),
        (signal.SIGABRT, "(SIGABRT): its engine gave up, probably for memory"),
        (signal.SIGRTMIN + 6, f"(signal {signal.SIGRTMIN + 6})"),
    ],
    ids=str,
)
def test_a_worker_that_is_killed_is_a_system_error(lab: Lab, number: int, how: str) -> None:
    with lab.running(lab.admit(ENDLESS)) as (ended, _):
        [worker] = processes.workers(SELF)
        os.kill(worker, number)

        assert processes.wait_until(lambda: bool(ended))

    [job] = ended
    assert job.outcome == Outcome(kind="system_error", detail=f"the worker died {how}")
    assert 1_000 < job.gas_used < 2_000  # it had written, and says no more of itself
    assert gone(worker)


def test_a_kill_that_is_not_ours_names_memory_as_its_probable_cause(lab: Lab) -> None:
    with lab.running(lab.admit(ENDLESS)) as (ended, _):
        [worker] = processes.workers(SELF)
        os.kill(worker, signal.SIGKILL)

        assert processes.wait_until(lambda: bool(ended))

    detail = "the worker was killed by the kernel, probably for memory (SIGKILL)"
    assert ended[0].outcome == Outcome(kind="system_error", detail=detail)


def test_a_job_over_the_memory_of_a_real_control_group_is_reported(tmp_path: Path) -> None:
    fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3fffffff))"
    greedy = wat.module('(memory (export "memory") 16384)', f'(func (export "_start") {fill})')
    module = tmp_path / "greedy.wasm"
    module.write_bytes(greedy)
    plasm = Plasm(tmp_path)

    with memory_group(320 << 20) as group:
        join = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs")]
        found = subprocess.run(
            [*join, *plasm.command("run", str(module), "--limit", "memory=2GiB", "--json")],
            capture_output=True,
            env=plasm.environment(),
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    detail = json.loads(found.stdout)["outcome"]["detail"]
    assert detail.startswith(
        "the worker was killed by the kernel, probably for memory (SIGKILL): its control"
    )


def test_a_worker_that_crashes_is_a_system_error(lab: Lab) -> None:
    job = lab.run(lab.hostile(), args=["crash"])

    assert job.outcome == Outcome(kind="system_error", detail="the worker died (SIGSEGV)")


def test_a_worker_that_is_stopped_is_timed_out(lab: Lab) -> None:
    with lab.running(lab.admit(ENDLESS), wall_time_s=1) as (ended, _):
        [worker] = processes.workers(SELF)
        os.kill(worker, signal.SIGSTOP)

        assert processes.wait_until(lambda: bool(ended))

    assert ended[0].outcome == Outcome(kind="timed_out", detail="after 1 s of wall time")
    assert gone(worker)


def test_a_job_that_waits_for_nothing_is_timed_out(lab: Lab) -> None:
    """A sleeping process, not a busy one."""
    job = lab.run(lab.hostile(), args=["wait"], wall_time_s=1)

    assert job.outcome == Outcome(kind="timed_out", detail="after 1 s of wall time")


def test_a_job_ends_when_it_is_cancelled(lab: Lab) -> None:
    with lab.running(lab.admit(ENDLESS)) as (ended, cancelled):
        [worker] = processes.workers(SELF)
        cancelled.set()

        assert processes.wait_until(lambda: bool(ended), timeout_s=2)

    assert ended[0].outcome == Outcome(kind="cancelled", detail="on request")
    assert gone(worker)


def test_a_job_that_was_cancelled_before_it_began_does_not_run(lab: Lab) -> None:
    cancelled = threading.Event()
    cancelled.set()

    job = lab.run(lab.admit(ENDLESS), cancelled=cancelled)

    assert job.outcome == Outcome(kind="cancelled", detail="on request")


def test_an_idle_worker_that_died_is_replaced_without_an_error(lab: Lab) -> None:
    program = lab.hostile()
    for _ in range(2):
        lab.process(program)
    assert processes.wait_until(lambda: len(processes.workers(SELF)) >= 7)
    idle = processes.workers(SELF)
    os.kill(idle[0], signal.SIGKILL)
    assert processes.wait_until(lambda: idle[0] not in processes.workers(SELF))

    assert lab.process(program) in idle[1:]
    assert gone(idle[0])


# -- a zygote ends


@pytest.mark.parametrize("jobs", range(1, 8))
def test_a_zygote_that_was_killed_is_replaced(lab: Lab, jobs: int) -> None:
    """Whether or not it has forked ahead: after some jobs it is about to be asked for more."""
    program = lab.hostile()
    for _ in range(jobs):
        lab.process(program)
    zygote = only_zygote()
    os.kill(zygote, signal.SIGKILL)
    assert processes.wait_until(lambda: not processes.alive(zygote))

    for _ in range(10):  # idle workers of the dead zygote may still serve
        assert lab.process(program)

    assert gone(zygote)
    assert processes.zygotes(SELF) != []


def test_idle_workers_of_a_zygote_that_was_killed_end_with_the_executor(directory: Path) -> None:
    with open_lab(directory) as lab:
        program = lab.hostile()
        for _ in range(2):
            lab.process(program)
        assert processes.wait_until(lambda: len(processes.workers(SELF)) >= 7)
        idle = processes.workers(SELF)
        os.kill(only_zygote(), signal.SIGKILL)

    assert all(map(gone, idle))


def test_a_job_survives_its_zygote(lab: Lab) -> None:
    """Its worker is the node's own child."""
    with lab.running(lab.admit(ENDLESS)) as (ended, cancelled):
        os.kill(only_zygote(), signal.SIGKILL)
        cancelled.set()

    assert ended[0].outcome.kind == "cancelled"


def test_zygotes_beyond_the_limit_end_least_recently_used_first(directory: Path) -> None:
    with open_lab(directory, zygotes=2) as lab:
        first, second, third = (lab.hostile(bytes([number])) for number in range(3))
        zygotes = []
        for program in (first, second, first, third):
            before = set(processes.zygotes(SELF))
            for _ in range(3):
                lab.process(program)
            zygotes += sorted(set(processes.zygotes(SELF)) - before)

        assert len(zygotes) == 3
        of_first, of_second, of_third = zygotes
        assert set(processes.zygotes(SELF)) == {of_first, of_third}
        assert gone(of_second)
        groups = {process.group for process in map(processes.look, processes.workers(SELF)) if process}
        assert groups <= {of_first, of_third}


def test_a_zygote_ends_after_so_many_jobs(directory: Path) -> None:
    """So that its workers' addresses do not stay the same for ever."""
    with open_lab(directory, jobs_per_zygote=3) as lab:
        program = lab.hostile()
        zygotes = []
        for _ in range(9):
            lab.process(program)
            zygotes.append(only_zygote())

        assert zygotes == [zygote for zygote in zygotes[::3] for _ in range(3)]
        assert len(set(zygotes)) == 3
        assert all(map(gone, set(zygotes[:6])))


def test_programs_that_push_each_other_out_all_run(directory: Path) -> None:
    """One zygote at a time, and threads that all want another one."""
    with open_lab(directory, zygotes=1) as lab:
        programs = [lab.admit(exiting(code)) for code in range(3)]
        outcomes: list[tuple[int, Outcome]] = []

        def work(code: int) -> None:
            outcomes.extend((code, lab.run(programs[code]).outcome) for _ in range(4))

        threads = [threading.Thread(target=work, args=(code,)) for code in range(3) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    expected = [(code, Outcome(kind="exited", code=code)) for code in range(3) for _ in range(8)]
    assert sorted(outcomes, key=lambda item: item[0]) == expected


@pytest.mark.parametrize("files", [10, 12, 14, 18])
def test_a_node_without_descriptors_to_spare_leaves_no_process_behind(files: int, directory: Path) -> None:
    """Zygotes die in the middle of a batch of workers, batches arrive without sockets."""
    command = ("-m", "tests.support.scarce_node", str(directory), str(files))
    done = interpreter_of("root" if os.geteuid() == 0 else "ordinary").run(*command)

    assert not done.returncode, done.stderr.decode()
    told = json.loads(done.stdout)
    refusals = ("SandboxError", "OSError: [Errno 24]")
    assert all(end.startswith(("exited with code 0", *refusals)) for end in told["ends"]), told
    assert told["ends"]["exited with code 0"] > 0
    assert told["left"] == 0
    assert told["zombies"] <= 8  # one a thread: they are reaped with the next job


@pytest.mark.parametrize("ahead", [1, 2, 3, 4, 20])
def test_workers_are_forked_ahead_of_demand(directory: Path, ahead: int) -> None:
    with open_lab(directory, ahead=ahead) as lab:
        program = lab.hostile()
        served = {lab.process(program) for _ in range(2)}

        def idle() -> set[int]:
            return set(processes.workers(SELF)) - served

        assert processes.wait_until(lambda: 1 <= len(idle()) <= ahead)
        waiting = idle()
        assert lab.process(program) in waiting


def test_no_socket_of_a_worker_is_inherited_by_what_the_node_starts(lab: Lab) -> None:
    before = set(processes.descriptors(SELF))
    program = lab.hostile()
    for _ in range(3):
        lab.process(program)

    fresh = {fd for fd, what in processes.descriptors(SELF).items() if fd not in before}
    assert len(fresh) > 2
    assert not any(os.get_inheritable(fd) for fd in fresh if Path(f"/proc/self/fd/{fd}").exists())


# -- nothing grows


@attrs.frozen
class Footprint:
    """What a node holds."""

    descriptors: int
    zombies: int
    children: int
    resident_bytes: int


def _footprint() -> Footprint:
    children = processes.children(SELF)
    return Footprint(
        descriptors=len(processes.descriptors(SELF)),
        zombies=sum(child.state == "Z" for child in children),
        children=len(children),
        resident_bytes=processes.resident_bytes(SELF),
    )


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_nothing_grows_with_the_number_of_jobs(directory: Path, isolation: str) -> None:
    """`benchmarks/soak.py` does the same for longer."""
    with open_lab(directory, isolation=isolation) as lab:
        program = lab.admit(module_named("echo"))
        for _ in range(60):
            lab.run(program, stdin=b"input")
        before = _footprint()
        for _ in range(300):
            assert lab.run(program, stdin=b"input").stdout == b"input"
        after = _footprint()

    assert after.descriptors <= before.descriptors + 8  # a batch of workers more or less
    assert after.zombies <= before.zombies + 2  # the last job's worker is reaped with the next
    assert after.children <= before.children + 8
    assert after.resident_bytes < before.resident_bytes + (4 << 20)


def test_jobs_of_two_threads_do_not_mix(lab: Lab) -> None:
    program = lab.admit(module_named("echo"))
    wrong: list[Job] = []

    def work(number: int) -> None:
        for turn in range(150):
            text = f"{number} {turn} ".encode() * 50
            job = lab.run(program, stdin=text)
            if (job.outcome, job.stdout) != (SUCCESS, text):
                wrong.append(job)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_job_may_have_much_input(lab: Lab) -> None:
    text = os.urandom(1 << 20) * 20

    job = lab.run(lab.admit(module_named("echo")), stdin=text)

    assert job.outcome == SUCCESS
    assert job.stdout == text


def test_much_output_takes_no_more_memory_than_little(lab: Lab) -> None:
    program = lab.admit(module_named("flood"))
    times = 800  # of 64 KiB: 50 MiB
    lab.run(program, stdin=bytes([1, 0, 0, 0, 1, 0, 0, 0]))
    before = processes.resident_bytes(SELF)
    most = taken = 0

    def take(_stream: int, data: bytes) -> None:
        nonlocal most, taken
        taken += len(data)
        most = max(most, processes.resident_bytes(SELF))
        if taken < 1 << 20:
            time.sleep(0.01)  # a slow reader: the worker must wait, the node must not hold what it sends

    job = lab.run(program, stdin=bytes([1, 0, 0, 0]) + times.to_bytes(4, "little"), output=take)

    assert job.outcome == SUCCESS
    assert taken == times * 65_536
    assert most < before + (8 << 20)


# -- memory that no job has


def test_zygotes_end_when_jobs_need_their_memory(lab: Lab) -> None:
    for code in range(3):
        assert lab.run(lab.admit(exiting(code))).outcome.code == code
    idle_bytes = lab.executor.idle_bytes
    assert len(processes.zygotes(SELF)) == 3

    lab.executor.make_room(0)
    job = lab.run(lab.admit(exiting(3)))

    assert job.outcome.code == 3
    assert len(processes.zygotes(SELF)) == 1
    assert lab.executor.idle_bytes <= LEAST_BYTES
    assert idle_bytes >= 3 * (32 << 20)


def test_a_zygote_that_a_job_waits_for_does_not_end(lab: Lab) -> None:
    """However little is spare, jobs of different modules that begin at once all run."""
    programs = [lab.admit(exiting(code)) for code in range(6)]
    lab.executor.make_room(0)

    with ThreadPoolExecutor(len(programs)) as threads:
        for _ in range(2):
            jobs = list(threads.map(lab.run, programs))
            assert [job.outcome.code for job in jobs] == list(range(6))

    assert len(processes.zygotes(SELF)) == 1


def test_a_zygotes_memory_is_what_it_has_loaded(lab: Lab) -> None:
    """The beginning of a module's memory above all."""
    big = "a" * (24 << 20)
    fields = ('(memory (export "memory") 512)', f'(data (i32.const 0) "{big}")', '(func (export "_start"))')
    lab.run(lab.admit(exiting(0)))
    small_bytes = lab.executor.idle_bytes

    lab.run(lab.admit(wat.module(*fields)), memory_bytes=64 << 20)

    assert lab.executor.idle_bytes - small_bytes >= small_bytes + (20 << 20)
    assert resident_bytes(SELF) > 1 << 20
    assert resident_bytes(2**22 + 1) == 0


def test_idle_shared_workers_end_when_jobs_need_their_memory(shared: Lab) -> None:
    program = shared.admit(exiting(0))
    for client in "abc":
        shared.run(program, client=client)
    assert shared.executor.idle_bytes >= 3 * executor.SHARED_BYTES

    shared.executor.make_room(executor.SHARED_BYTES)
    shared.run(program, client="d")

    assert executor.SHARED_BYTES <= shared.executor.idle_bytes <= executor.SHARED_BYTES + LEAST_BYTES
