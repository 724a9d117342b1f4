"""That limits.memory_bytes is true: what all processes of a daemon have in memory, against what its slots believe.

The constant beside it is the daemon itself, as `plasm_core.daemon.scheduling.slots` states it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plasm_core.client import Client, Submission
from plasm_core.daemon.scheduling.slots import DAEMON_BYTES, WORKER_BYTES
from plasm_core.protocol.messages import Accepted, Offered
from plasm_core.records import Handle, Limits
from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.sandbox.process.tree_packing import bytes_source, pack_tree
from tests.support import processes, wat
from tests.support.conversing import calling
from tests.support.daemon import DEADLINE_S, Daemon

MIB = 1 << 20
LENT = 900 * MIB

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists() or os.geteuid() != 0,
    reason="only root may see what the workers of Linux have in memory",
)


def proportional_bytes(pid: int) -> int:
    """Return a process's share of the memory that it has (PSS), 0 once it has ended."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def memory_files(pids: set[int]) -> int:
    """Return what the memory files take that these processes have open: no page of them need be mapped."""
    sizes = {}
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:"):
                    stat = os.stat(f"/proc/{pid}/fd/{name}")
                    sizes[stat.st_ino] = stat.st_blocks * 512
            except OSError:
                continue
    return sum(sizes.values())


def taken_bytes(daemon: Daemon) -> int:
    """Return what a daemon and all its processes have in memory."""
    assert daemon.process is not None
    pids = {daemon.process.pid, *processes.descendants(daemon.process.pid)}
    return sum(map(proportional_bytes, pids)) + memory_files(pids)


def series(daemon: Daemon, name: str) -> int:
    """Return one of a daemon's gauges."""
    page = daemon.plasm("metrics").stdout.decode()
    found = re.search(rf"^plasm_{name} (\d+)$", page, re.MULTILINE)
    assert found, page
    return int(found[1])


def greedy(number: int, *, data_mib: int, memory_mib: int, stdin_mib: int = 0) -> Submission:
    """Return a job that begins with much memory, fills what else it may have, says so, and never ends.

    Each number gives another module, so that each has a zygote of its own.
    """
    pages = memory_mib * 16
    text = "".join(
        f'(data (i32.const {(1 + index) << 20}) "{chr(97 + number) * MIB}")' for index in range(data_mib)
    )
    iovec = "".join(f"\\{byte:02x}" for byte in struct.pack("<II", 16, 1)) + "\\00" * 8 + "x"
    module = wat.module(
        wat.function("fd_write", "i32 i32 i32 i32"),
        f'(memory (export "memory") {pages} {pages})',
        f'(data (i32.const 0) "{iovec}")',
        text,
        '(func (export "_start") (memory.fill (i32.const 1024) (i32.const 7)'
        f" (i32.const {memory_mib * MIB - 1024}))"
        " (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (loop $l (br $l)))",
    )
    limits = Limits(gas=10**15, memory_bytes=memory_mib * MIB, output_bytes=MIB)
    return Submission.of(module, stdin=os.urandom(MIB) * stdin_mib, limits=limits, wall_time_s=600)


def hand_in(daemon: Daemon, job: Submission, *, wait: bool = True) -> Handle:
    """Hand a job in, and wait until it has written something if it is to run now."""
    with calling(daemon.socket) as caller:
        handle = caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)
        if wait:
            caller.consume(1)
        else:
            caller.expect(Accepted)
    return handle


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    settings = (f"limits.memory_bytes={LENT}", "limits.cpu=8", "admission.memory_bytes=536870912")
    with Daemon(tmp_path, *(item for text in settings for item in ("--set", text))) as daemon:
        daemon.start()
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        yield daemon


def test_the_memory_of_all_processes_equals_the_slots_figure(daemon: Daemon) -> None:
    """Filled with what a client can send: initial memories, zygotes, standard input, guests, half an upload."""
    client = Client()
    empty = taken_bytes(daemon)
    with ExitStack() as open_uploads:
        for number in range(2):  # zygotes with much in them, which then have no job
            client.cancel(hand_in(daemon, greedy(number, data_mib=24, memory_mib=32)))
        handles = [
            hand_in(daemon, greedy(number, data_mib=8, memory_mib=160, stdin_mib=64))
            for number in range(2, 5)
        ]
        waiting = hand_in(daemon, greedy(5, data_mib=1, memory_mib=512, stdin_mib=64), wait=False)
        caller = open_uploads.enter_context(calling(daemon.socket))
        upload = greedy(6, data_mib=1, memory_mib=2, stdin_mib=64)
        caller.submit(upload)
        caller.expect(Offered)

        believed = series(daemon, "memory_taken_bytes") + series(daemon, "memory_idle_bytes")
        found = taken_bytes(daemon)
        lent = series(daemon, "memory_lent_bytes")

    assert lent == LENT
    assert empty <= DAEMON_BYTES
    assert found >= 3 * 160 * MIB  # or it was not filled
    assert found <= believed + DAEMON_BYTES
    assert believed <= LENT + DAEMON_BYTES
    assert client.status(waiting).state == "QUEUED"
    for handle in (*handles, waiting):
        client.cancel(handle)


@pytest.mark.parametrize("stdin_mib", [1, 64, 192])
def test_standard_input_takes_no_memory(daemon: Daemon, stdin_mib: int) -> None:
    before = taken_bytes(daemon)
    handle = hand_in(daemon, greedy(0, data_mib=0, memory_mib=1, stdin_mib=stdin_mib))

    grown = taken_bytes(daemon) - before
    Client().cancel(handle)

    assert grown <= series(daemon, "memory_idle_bytes") + 65 * MIB


def test_a_job_with_files_counts_what_the_listing_of_its_tree_takes(daemon: Daemon) -> None:
    limits = FileLimits(data_bytes=0, entries=2_000, descriptors=4)
    module, _ = greedy(0, data_mib=0, memory_mib=1).load()
    sources = [bytes_source(b"x" * 250 + b"%04d" % number, b"") for number in range(1_000)]
    with pack_tree(sources) as pack:
        asked = JobFiles(tree=pack.tree, read_only=(), outputs=(), limits=limits)
        terms = Limits(gas=10**15, memory_bytes=MIB, output_bytes=MIB)
        job = Submission.of(module, pack=pack, asked_files=asked, limits=terms, wall_time_s=600)
        handle = hand_in(daemon, job)

        taken = series(daemon, "memory_taken_bytes")
        Client().cancel(handle)

    assert pack.listing_bytes > 250_000
    assert taken == MIB + WORKER_BYTES + 2_000 * 2_048 + 4 * pack.listing_bytes


def test_a_job_that_needs_all_of_it_ends_the_zygotes(daemon: Daemon) -> None:
    for number in range(3):
        Client().cancel(hand_in(daemon, greedy(number, data_mib=8, memory_mib=16)))
    idle = series(daemon, "memory_idle_bytes")

    handle = hand_in(daemon, greedy(3, data_mib=0, memory_mib=832))
    believed = series(daemon, "memory_taken_bytes") + series(daemon, "memory_idle_bytes")
    found = taken_bytes(daemon)
    Client().cancel(handle)

    assert idle >= 3 * 32 * MIB
    assert believed <= LENT + 64 * MIB
    assert 832 * MIB <= found <= believed + DAEMON_BYTES


def test_input_that_is_read_from_its_file_is_what_was_sent(daemon: Daemon) -> None:
    data = os.urandom(3 * MIB + 17)
    module = wat.module(
        wat.function("fd_read", "i32 i32 i32 i32"),
        wat.function("fd_write", "i32 i32 i32 i32"),
        wat.MEMORY,
        '(data (i32.const 0) "\\40\\00\\00\\00\\00\\80\\00\\00")',
        """(func (export "_start") (loop $l
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
          (i32.store (i32.const 20) (i32.const 64)) (i32.store (i32.const 24) (i32.load (i32.const 16)))
          (drop (call $fd_write (i32.const 1) (i32.const 20) (i32.const 1) (i32.const 28)))
          (br_if $l (i32.load (i32.const 16)))))""",
    )

    result = Client().run(Submission.of(module, stdin=data), timeout_s=DEADLINE_S)

    assert result.ok
    assert result.stdout == data
