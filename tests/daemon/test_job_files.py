"""Jobs with files at a real daemon: what goes in, what comes out, and what becomes of both."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from plasm_core import Client, JobResult, Submission
from plasm_core.client.fetched_files import MAX_FETCH_BYTES
from plasm_core.errors import RefusedError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.client_session import ClientPhase
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import (
    Accepted,
    Credit,
    Fetch,
    Offered,
    OutputContents,
    Possessed,
    Refused,
)
from plasm_core.records import Handle, sha256
from plasm_core.testing.bench import MODULES
from tests.support.conversing import Caller, accept, calling
from tests.support.daemon import Daemon

MODULE = (MODULES / "files.wasm").read_bytes()
CONTENT = b"some data\n" * 10_000
LARGE = bytes(range(256)) * 4096
"""As large as what a client proves to have, instead of sending it again."""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path, "--set", "storage.spare_bytes=0") as daemon:
        daemon.start()
        for name, value in daemon.environ.items():
            monkeypatch.setenv(name, value)
        yield daemon


def job(content: bytes = CONTENT, **terms: object) -> Submission:
    given: dict[str, object] = {"files": {"in/data": content}, "outputs": ["out/"], **terms}
    return Submission.of(MODULE, **given)  # type: ignore[arg-type]


def received_bytes(daemon: Daemon) -> int:
    lines = daemon.plasm("metrics").stdout.decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("plasm_received_bytes_total"))


def trees(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in (daemon.state / "trees").glob("??/*"))


def fetch(
    caller: Caller, handle: Handle, path: str = "out", *, offset: int = 0, length: int = MAX_FETCH_BYTES
) -> tuple[OutputContents, bytes]:
    """Fetch as much as is asked for, as a client of this protocol would."""
    caller.ask(
        Fetch(
            job_id=handle.job_id,
            token=handle.token().hex(),
            path=path,
            offset=offset,
            length=length,
            credit=offset + 1000,
        )
    )
    found, data = caller.expect(OutputContents), b""
    while len(data) < min(length, found.size - offset):
        said = caller.receive()
        assert isinstance(said, Data)
        data += said.data
        if caller.conversation.phase is ClientPhase.FETCHING:
            caller.sock.sendall(caller.conversation.credit(Channel.CONTENTS, 1000))
    return found, data


def wait_patiently(caller: Caller) -> None:
    """Take some of the node's heartbeats, and answer each."""
    for _ in range(6):
        caller.pump()
        caller.sock.sendall(caller.conversation.heartbeat())


def test_files_go_in_and_come_out(daemon: Daemon) -> None:
    with Client() as client:
        result = client.run(MODULE, files={"in/data": CONTENT}, outputs=["out/", "absent"]).check()

        assert sorted(result.files) == ["out/copy", "out/sub/length"]
        assert result.files["out/copy"].read() == CONTENT
        assert result.files["out/copy"].sha256 == sha256(CONTENT)
        assert struct.unpack("<I", result.files["/out/sub/length"].read()) == (len(CONTENT),)
        assert [item.path for item in result.receipt.files] == ["out"]


def test_what_a_job_left_is_written_into_one_directory(daemon: Daemon, tmp_path: Path) -> None:
    with Client() as client:
        result = client.run(MODULE, files={"in/data": CONTENT}, outputs=["out/", "in/data"])
        result.files.save_all(tmp_path / "all")
        result.files.save("out", tmp_path / "one")

    assert (tmp_path / "all" / "out" / "copy").read_bytes() == CONTENT
    assert (tmp_path / "one" / "copy").read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["in", "out"]


def test_a_tree_is_sent_once_by_a_client_that_runs_several_jobs(daemon: Daemon) -> None:
    with Client() as client:
        client.run(job(LARGE)).check()
        before = received_bytes(daemon)
        client.run(job(LARGE), timeout_s=60).check()

    assert received_bytes(daemon) - before < len(LARGE) // 10
    assert len(trees(daemon)) == 1


def test_equal_jobs_of_a_map_share_their_files(daemon: Daemon) -> None:
    files: Mapping[str, bytes] = {"in/data": LARGE}
    with Client() as client:
        found = list(client.map(MODULE, [b"1", b"2", b"3"], files=files, outputs=["out/"], in_flight=1))

    for result in found:
        assert isinstance(result, JobResult)
        assert result.files["out/copy"].read() == LARGE
    assert received_bytes(daemon) < 2 * len(LARGE)


def test_knowing_a_trees_digest_is_not_having_it(daemon: Daemon) -> None:
    with Client() as client:
        client.run(job(LARGE)).check()
    again = job(LARGE)

    def answer(submission: Submission, proof: bytes, size: int) -> bool:
        with calling(daemon.socket) as caller:
            caller.submit(submission, sizes=attrs.evolve(submission.sizes, files=size))
            challenge = bytes.fromhex(caller.expect(Offered).challenge)
            said = hashlib.sha256(challenge + proof).hexdigest()
            caller.sock.sendall(caller.conversation.prove(said, Channel.FILES))
            return caller.expect(Possessed).known

    pack = again.sources[Channel.FILES].read(0, 1 << 30)
    assert answer(job(LARGE), pack, len(pack))
    assert not answer(job(LARGE), pack[:-1] + b"?", len(pack))
    assert not answer(job(LARGE), bytes.fromhex(again.manifest.module), len(pack))
    # Of another size than is stored, as many zeros are read: they must not be taken for the tree.
    assert not answer(job(LARGE), bytes(len(pack) - 1), len(pack) - 1)
    assert not answer(job(LARGE + b"new"), bytes(len(pack)), len(pack))


def test_an_interrupted_upload_of_files_resumes_where_it_was(daemon: Daemon) -> None:
    submission = job(LARGE)
    with calling(daemon.socket) as caller:
        caller.submit(submission)
        caller.expect(Offered)
        caller.upload(submission, 600_000)

    with calling(daemon.socket) as caller:
        handle = caller.submit(submission)
        there = caller.expect(Offered).received.files
        caller.upload(submission)
        caller.expect(Accepted)

    assert there is not None
    assert there > 300_000
    with Client() as client:
        assert client.result(handle).files["out/copy"].read() == LARGE


def test_other_bytes_than_the_manifest_names_are_refused_and_leave_nothing(daemon: Daemon) -> None:
    submission, other = job(), job(CONTENT[:-1] + b"?")
    assert submission.sizes == other.sizes
    submission.sources[Channel.FILES] = other.sources[Channel.FILES]

    with Client() as client, pytest.raises(RefusedError) as caught:
        client.submit(submission)

    assert caught.value.reason == "digest_mismatch"
    assert trees(daemon) == []
    assert list((daemon.state / "trees" / "incoming").iterdir()) == []


def test_an_accepted_job_survives_a_kill_with_its_files(daemon: Daemon) -> None:
    with calling(daemon.socket) as caller:
        handle = accept(caller, job())
    daemon.kill()
    daemon.start()

    with Client() as client:
        assert client.result(handle).files["out/copy"].read() == CONTENT


def test_what_a_job_left_survives_a_kill_and_is_released_with_it(daemon: Daemon) -> None:
    with Client() as client:
        handle = client.run(job()).handle
        daemon.kill()
        daemon.start()
        held = trees(daemon)
        listed = client.list_files(handle)
        copy = next(entry for entry in listed if entry.path == "out/copy")
        parts: list[bytes] = []
        client.read_file(handle, copy, parts.append)
        client.release(handle)

        assert [entry.path for entry in listed] == ["out", "out/copy", "out/sub", "out/sub/length"]
        assert b"".join(parts) == CONTENT
        assert len(held) == 1
        assert (trees(daemon), list((daemon.state / "jobs").glob("*/"))) == ([], [])
        with pytest.raises(RefusedError, match="released"):
            client.list_files(handle)


def test_outputs_come_in_windows_and_in_parts(daemon: Daemon) -> None:
    with Client() as client:
        handle = client.submit(job(outputs=["out/copy", "out/sub"]))
        client.wait(handle)

    with calling(daemon.socket) as caller:
        whole = fetch(caller, handle, "out/copy")
    with calling(daemon.socket) as caller:
        part = fetch(caller, handle, "out/copy", offset=5000, length=2500)
    with calling(daemon.socket) as caller:
        beyond = fetch(caller, handle, "out/copy", offset=10**9)
    with calling(daemon.socket) as caller:
        tree, pack = fetch(caller, handle, "out/sub")

    assert (whole[0].kind, whole[0].size, whole[1]) == ("file", len(CONTENT), CONTENT)
    assert part[1] == CONTENT[5000:7500]
    assert beyond[1] == b""
    assert (tree.kind, tree.size) == ("tree", len(pack))
    assert pack.endswith(struct.pack("<I", len(CONTENT)))


def test_only_an_ended_jobs_outputs_are_served_to_whom_it_belongs(daemon: Daemon) -> None:
    loop = Submission.of(
        (MODULES / "loop.wasm").read_bytes(), files={"a": b""}, outputs=["a", "b"], gas=10**12
    )
    with calling(daemon.socket) as caller:
        running = accept(caller, loop)
    with Client() as client:
        ended = client.run(job()).handle
        stranger = Handle(job_id=ended.job_id, secret=os.urandom(32), peer=ended.peer)

        for handle, path, reason in (
            (running, "a", "not_ended"),
            (ended, "in", "unknown_output"),
            (stranger, "out", "unknown_job"),
        ):
            with calling(daemon.socket) as caller:
                caller.ask(
                    Fetch(
                        job_id=handle.job_id,
                        token=handle.token().hex(),
                        path=path,
                        offset=0,
                        length=10,
                        credit=10,
                    )
                )
                assert caller.refusal().reason == reason
        client.cancel(running)
        with calling(daemon.socket) as caller:
            assert fetch(caller, running, "a")[0].kind == "none"


def test_a_client_that_reads_nothing_frees_the_space_of_a_job_that_it_released(daemon: Daemon) -> None:
    with Client() as client, calling(daemon.socket) as caller:
        handle = client.run(job()).handle
        caller.ask(
            Fetch(
                job_id=handle.job_id,
                token=handle.token().hex(),
                path="out",
                offset=0,
                length=MAX_FETCH_BYTES,
                credit=10,
            )
        )
        assert caller.expect(OutputContents).size > len(CONTENT)
        client.release(handle)

        with pytest.raises((EOFError, ConnectionError)):
            wait_patiently(caller)


def test_files_beyond_the_nodes_limits_are_refused_with_the_reason(tmp_path: Path) -> None:
    settings = ("limits.tree_bytes=200000", "storage.tree_bytes=150000", "storage.spare_bytes=0")
    arguments = [item for setting in settings for item in ("--set", setting)]
    with Daemon(tmp_path, *arguments) as daemon:
        daemon.start()
        for content, reason in ((bytes(201_000), "input_too_large"), (bytes(180_000), "storage_full")):
            submission = job(content)
            with calling(daemon.socket) as caller:
                caller.submit(submission)
                said = caller.receive()
                if isinstance(said, Offered):
                    caller.upload(submission, 1000)
                    said = caller.receive()
                while isinstance(said, Credit):
                    said = caller.receive()
                assert isinstance(said, Refused)
                assert said.reason == reason
        with calling(daemon.socket) as caller:
            accept(caller, job(bytes(120_000)))


def test_the_commands_say_what_is_wrong_and_write_nothing_else(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    (place / "in").mkdir(parents=True)
    (place / "in" / "data").write_bytes(CONTENT)
    (place / "files.wasm").write_bytes(MODULE)
    monkeypatch.chdir(place)
    given = ("submit", "--dir", "in:in", "--out", "out/", "--out", "absent", "files.wasm")
    handle = daemon.plasm(*given).stdout
    (place / "handle").write_bytes(handle)

    wrong = {
        ("submit", "--out", "out/:there", "files.wasm"): "name the path in the job's tree only",
        ("result", "@handle", "--out", "in"): "the directory is not empty",
        ("result", "@handle", "--out", "files.wasm"): "it is a file",
        ("files", "@handle", "cat"): "needs the path of a file",
        ("files", "@handle", "cat", "out"): "the job left no file out",
        ("files", "@handle", "cat", "../in/data"): "the job left no file",
    }
    for command, words in wrong.items():
        done = daemon.plasm(*command, check=False)
        assert (done.returncode != 0, done.stdout) == (True, b""), command
        assert words in done.stderr.decode(), command
    fetched = daemon.plasm("result", "@handle", "--out", "new", check=False)

    assert fetched.returncode == 6
    assert "the job left no absent" in fetched.stderr.decode()
    assert (place / "new" / "out" / "copy").read_bytes() == CONTENT
    assert sorted(os.listdir(place)) == ["files.wasm", "handle", "in", "new"]
