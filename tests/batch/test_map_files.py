"""`plasm map` with files: the same input tree for all jobs, sent once, and the outputs of each in its folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plasm_core.testing.bench import MODULES
from tests.batch.test_map import accepted, ended
from tests.support.daemon import DEADLINE_S, Daemon

FILES = str(MODULES / "files.wasm")
CONTENT = bytes(range(256)) * 2048


class CountingSocket:
    """A socket before a daemon's, which counts the bytes that clients send to it."""

    def __init__(self, daemon: Daemon) -> None:
        self.path = daemon.socket.with_name("counting.sock")
        self._passed: list[int] = []
        self._daemon = str(daemon.socket)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(64)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def received(self) -> int:
        """How many bytes clients have sent in conversations that are over."""
        return sum(self._passed)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as node:
            node.connect(self._daemon)
            back = threading.Thread(target=self._pass, args=(node, client))
            back.start()
            self._passed.append(self._pass(client, node))
            back.join()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> int:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                passed += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        return passed

    def close(self) -> None:
        """Wait for the conversations to end, and stop listening."""
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()
        self.path.unlink()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with input for the jobs, which is the current one."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_job_gets_the_files_and_leaves_its_outputs_in_its_folder(daemon: Daemon, place: Path) -> None:
    run = ("map", FILES, "--range", "3", "--dir", "in:in", "--keep", "out/", "--out", "results")
    done = daemon.plasm(*run, "--format", "jsonl", "--", "{}")

    for number, line in enumerate(done.stdout.splitlines()):
        job = place / "results" / f"{number:06d}"
        assert (job / "files" / "out" / "copy").read_bytes() == CONTENT
        assert (job / "files" / "out" / "sub" / "length").stat().st_size == 4
        assert json.loads(line)["filesPath"] == f"results/{number:06d}/files"
        assert [item["path"] for item in json.loads(line)["files"]] == ["out"]
        verify = ("verify", f"{job}/receipt.json", "--dir", "in:in", "--out", f"out/:{job}/files/out")
        assert b"input files, output 'out' as expected" in daemon.plasm(*verify).stdout
    assert len(done.stdout.splitlines()) == 3
    assert not [name for name in os.listdir(place / "results" / "000000") if name.startswith(".plasm")]


def test_a_job_that_leaves_no_output_has_failed(daemon: Daemon, place: Path) -> None:
    """As `plasm run` does: a program that goes on with the files would miss one."""
    run = ("map", FILES, "--range", "2", "--dir", "in:in", "--keep", "out/", "--keep", "report")
    done = daemon.plasm(*run, "--out", "results", "--format", "jsonl", "--", "{}", check=False)

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 6
    assert [(line["state"], line["reason"]) for line in lines] == [("failed", "the job left no report")] * 2
    assert (place / "results" / "000001" / "error").read_text() == "the job left no report\n"
    assert (place / "results" / "000001" / "files" / "out" / "copy").read_bytes() == CONTENT
    assert b"2 receipts belong to it" in daemon.plasm("verify", "results/batch.json").stdout


def test_the_batch_is_verified_with_the_files_next_to_it(daemon: Daemon, place: Path) -> None:
    run = ("map", FILES, "--range", "2", "--dir", "in:in", "--keep", "out/", "--out", "results")
    daemon.plasm(*run, "--format", "none", "--", "{}")
    copy = place / "results" / "000001" / "files" / "out" / "copy"

    held = daemon.plasm("verify", "results/batch.json")
    copy.write_bytes(CONTENT[1:])
    flipped = daemon.plasm("verify", "results/batch.json", check=False)
    copy.unlink()
    missing = daemon.plasm("verify", "results/batch.json", check=False)
    (place / "results" / "000001" / "files" / "out").rename(place / "moved")
    moved = daemon.plasm("verify", "results/batch.json", check=False)

    assert b"2 receipts belong to it" in held.stdout
    assert (flipped.returncode, missing.returncode, moved.returncode) == (7, 7, 7)
    assert b"job 1: its output 'out' is not what the receipt says" in flipped.stdout
    assert b"job 1: its output 'out' is missing" in moved.stdout


def test_a_killed_batch_resumes_with_its_own_files(daemon: Daemon, place: Path) -> None:
    """The batch keeps the files as it read them at the start, even if they change later."""
    jobs, batch, before = 24, place / "b", accepted(daemon)
    run = (FILES, "--range", str(jobs), "--dir", "in:in", "--keep", "out/", "--batch", str(batch), "--", "{}")
    process = subprocess.Popen(
        [sys.executable, "-m", "plasm_core.cli", "map", "--in-flight", "2", *run],
        env=daemon.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + DEADLINE_S
    while ended(batch) < 5 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait(DEADLINE_S) in (-signal.SIGKILL, 0)
    (place / "in" / "data").write_bytes(b"another")

    resume = ("map", "--resume", str(batch), "--out", "results", "--format", "none")
    daemon.plasm(*resume)
    daemon.plasm(*resume)  # replaces what it has written before

    assert accepted(daemon) - before == jobs
    for number in range(jobs):
        assert (place / "results" / f"{number:06d}" / "files" / "out" / "copy").read_bytes() == CONTENT
    exported = daemon.plasm("batch", "export", str(batch), "exported")
    assert exported.returncode == 0
    assert (place / "exported" / "000023" / "files" / "out" / "copy").read_bytes() == CONTENT


def test_files_that_changed_in_the_folder_of_a_batch_are_refused(daemon: Daemon, place: Path) -> None:
    daemon.plasm("map", FILES, "--range", "1", "--dir", "in:in", "--keep", "out/", "--batch", "b", "--", "{}")
    (place / "b" / "outputs" / "0.file0").write_bytes(b"another")

    refused = daemon.plasm("map", "--resume", "b", "--out", "results", check=False)
    (place / "b" / "files.pack").write_bytes(b"another")
    changed = daemon.plasm("map", "--resume", "b", check=False)

    assert refused.returncode != 0
    assert b"job 0 of the batch in b: 'out' is not the tree that the receipt states" in refused.stderr
    assert not (place / "results" / "000000" / "files").exists()
    assert b"the files of the batch in b have changed" in changed.stderr


def test_files_that_no_batch_has_written_are_not_replaced(daemon: Daemon, place: Path) -> None:
    mine = place / "results" / "000000" / "files"
    mine.mkdir(parents=True)
    (mine / "mine").write_bytes(b"mine")
    run = ("map", FILES, "--range", "1", "--dir", "in:in", "--keep", "out/", "--out", "results")

    refused = daemon.plasm(*run, "--", "{}", check=False)

    assert b"it exists, without a receipt next to it" in refused.stderr
    assert (mine / "mine").read_bytes() == b"mine"


def test_a_link_in_the_place_of_the_files_is_not_followed(daemon: Daemon, place: Path) -> None:
    run = (
        "map",
        FILES,
        "--range",
        "1",
        "--dir",
        "in:in",
        "--keep",
        "out/",
        "--out",
        "results",
        "--batch",
        "b",
    )
    daemon.plasm(*run, "--", "{}")
    files = place / "results" / "000000" / "files"
    files.rename(place / "elsewhere")
    files.symlink_to(place / "elsewhere")

    refused = daemon.plasm("map", "--resume", "b", "--out", "results", check=False)

    assert b"it is no directory" in refused.stderr
    assert (place / "elsewhere" / "out" / "copy").read_bytes() == CONTENT


def test_the_files_are_sent_once_to_each_node(daemon: Daemon, place: Path) -> None:
    (place / "in" / "data").write_bytes(os.urandom(4 << 20))
    counting = CountingSocket(daemon)
    try:
        environ = {**daemon.environ, "PLASM_SOCKET": str(counting.path)}
        run = ("map", FILES, "--range", "12", "--dir", "in:in", "--keep", "out/", "--out", "results")
        done = subprocess.run(
            [sys.executable, "-m", "plasm_core.cli", *run, "--format", "none", "--", "{}"],
            env=environ,
            capture_output=True,
            check=False,
        )
    finally:
        counting.close()  # all bytes are counted then

    assert done.returncode == 0, done.stderr
    assert 4 << 20 <= counting.received < 5 << 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keep", "out/"), b"--keep needs --out DIR"),
        (("--keep", "out/:there", "--out", "d"), b"name the path in the job's tree only"),
        (("--keep", "out", "--keep", "out/", "--out", "d"), b"--keep out/: out is named twice"),
        (("--dir", "nowhere:in"), b"cannot read nowhere"),
        (("--file-limit", "entries=3"), b"without --file, --dir, --tree or --keep"),
    ],
)
def test_impossible_options_are_reported_before_anything_is_sent(
    daemon: Daemon, place: Path, options: tuple[str, ...], said: bytes
) -> None:
    before = accepted(daemon)

    refused = daemon.plasm("map", FILES, "--range", "1", *options, check=False)

    assert said in refused.stderr, refused.stderr
    assert accepted(daemon) == before


def test_a_resumed_batch_takes_no_other_files(daemon: Daemon, place: Path) -> None:
    daemon.plasm("map", FILES, "--range", "1", "--dir", "in:in", "--batch", "b", check=False)

    assert (
        b"--resume has the files from DIR"
        in daemon.plasm("map", "--resume", "b", "--dir", "in:in", check=False).stderr
    )


def test_a_reduction_has_no_files(daemon: Daemon, place: Path) -> None:
    hello = str(MODULES / "echo.wasm")
    run = (
        "map",
        FILES,
        "--range",
        "2",
        "--dir",
        "in:in",
        "--keep",
        "out/",
        "--out",
        "results",
        "--reduce",
        hello,
    )

    done = daemon.plasm(*run, "--", "{}")

    assert len(done.stdout) == 2 * (8 + 1)
    assert not (place / "results" / "reduce-1" / "000000" / "files").exists()
