"""Files that a client of this machine passes to the daemon as a descriptor of sealed memory."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core import Client, Submission
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import Accepted, Offered, Possessed
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.testing.bench import MODULES
from tests.support.conversing import Caller, calling
from tests.support.daemon import Daemon

MODULE = (MODULES / "files.wasm").read_bytes()
CONTENT = bytes(range(256)) * 200_000
"""More than is copied in one go."""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        for name, value in daemon.environ.items():
            monkeypatch.setenv(name, value)
        yield daemon


@pytest.fixture
def submission() -> Iterator[Submission]:
    with Submission.of(MODULE, files={"in/data": CONTENT}, outputs=["out/"]) as submission:
        yield submission


@contextlib.contextmanager
def sealed(data: bytes) -> Iterator[int]:
    fd = sealed_blob("passed", [data])
    yield fd
    os.close(fd)


def passed_descriptors(daemon: Daemon) -> int:
    """Return how many descriptors of `sealed` the daemon has open."""
    assert daemon.process is not None
    found = 0
    for path in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(path).startswith("/memfd:passed")
    return found


def pack_of(submission: Submission) -> bytes:
    source = submission.sources[Channel.FILES]
    return source.read(0, source.size_bytes)


def passed(caller: Caller, submission: Submission, *fds: int) -> bool:
    """Pass descriptors with the message. Return what the daemon says of them."""
    caller.submit(submission)
    caller.expect(Offered)
    frame = caller.conversation.sealed_memory(Channel.FILES)
    if fds:
        socket.send_fds(caller.sock, [frame], list(fds))
    else:
        caller.sock.sendall(frame)
    return caller.expect(Possessed).known


def test_no_byte_of_the_files_goes_through_the_socket(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, submission: Submission
) -> None:
    """The client reads the pack again only to send it."""
    monkeypatch.setattr(submission.sources[Channel.FILES], "read", None)

    with Client() as client:
        result = client.run(submission)

    assert result.files["out/copy"].read() == CONTENT


def test_a_sealed_pack_is_taken_and_its_descriptor_closed(daemon: Daemon, submission: Submission) -> None:
    with calling(daemon.socket) as caller, sealed(pack_of(submission)) as fd:
        assert passed(caller, submission, fd)
        assert passed_descriptors(daemon) == 0
        caller.upload(submission)
        caller.expect(Accepted)


def test_memory_that_may_change_is_not_taken_and_the_files_are_sent(
    daemon: Daemon, submission: Submission
) -> None:
    fd = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, pack_of(submission))

    with calling(daemon.socket) as caller:
        assert not passed(caller, submission, fd)
        caller.upload(submission)
        caller.expect(Accepted)
    os.close(fd)


def test_a_file_or_pipe_is_not_taken(daemon: Daemon, submission: Submission, tmp_path: Path) -> None:
    """Reading one may wait for a disk, or for ever."""
    reader, writer = os.pipe()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, pack_of(submission))

    for fd in (reader, writer, file):
        with calling(daemon.socket) as caller:
            assert not passed(caller, submission, fd)
        os.close(fd)


def test_memory_of_another_size_is_not_taken(daemon: Daemon, submission: Submission) -> None:
    for pack in (pack_of(submission)[:-1], pack_of(submission) + b"x", b""):
        with calling(daemon.socket) as caller, sealed(pack) as fd:
            assert not passed(caller, submission, fd)


def test_a_message_without_a_descriptor_is_answered(daemon: Daemon, submission: Submission) -> None:
    with calling(daemon.socket) as caller:
        assert not passed(caller, submission)
        caller.upload(submission)
        caller.expect(Accepted)


def test_other_bytes_than_the_manifest_names_are_refused(daemon: Daemon, submission: Submission) -> None:
    pack = pack_of(submission)
    with calling(daemon.socket) as caller, sealed(pack[:-1] + b"?") as fd:
        caller.submit(submission)
        caller.expect(Offered)
        socket.send_fds(caller.sock, [caller.conversation.sealed_memory(Channel.FILES)], [fd])

        assert caller.refusal().reason == "digest_mismatch"
    assert list((daemon.state / "trees" / "incoming").iterdir()) == []


def test_descriptors_that_nobody_asked_for_are_closed(daemon: Daemon, submission: Submission) -> None:
    with sealed(b"x") as fd, calling(daemon.socket) as caller:
        caller.submit(submission)
        caller.expect(Offered)
        for _ in range(100):
            socket.send_fds(caller.sock, [caller.conversation.heartbeat()], [fd, fd])
        socket.send_fds(caller.sock, [caller.conversation.sealed_memory(Channel.FILES)], [fd])

        assert not caller.expect(Possessed).known
        assert passed_descriptors(daemon) == 0
