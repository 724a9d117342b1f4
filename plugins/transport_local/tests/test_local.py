"""The local transport: the contract, and its sockets."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from plasm_core.cli import exits
from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_core.plugins.interfaces import Stream, Transport
from plasm_core.testing.transport_contract import PROTOCOL, TransportContract
from plasm_transport_local.listening import bind
from plasm_transport_local.stream import LocalStream
from plasm_transport_local.transport import LocalTransport
from tests.support.users import interpreter_of


async def ignore(stream: Stream) -> None:
    await stream.receive_some()


class TestContract(TransportContract):
    @pytest.fixture
    def transport(self, tmp_path: Path) -> Transport:
        return LocalTransport(socket=str(tmp_path / "run" / "plasmd.sock"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plasmd.sock"


def test_a_runtime_directory_of_another_user_is_named(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`su` without `-` keeps the variable of the user before."""
    directory = tmp_path_factory.mktemp("s")  # the path of a socket has at most 107 bytes
    session = directory / "missing"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))

    with pytest.raises(TransportError, match="cannot listen on") as stale:
        bind(session / "plasm" / "plasmd.sock", mode=0o600, group=None)
    with pytest.raises(TransportError, match="cannot listen on") as named:
        bind(directory / "no" / "such" / "plasmd.sock", mode=0o600, group=None)

    assert str(stale.value.hint).startswith(
        "XDG_RUNTIME_DIR is no directory of yours: unset it, and the daemon"
    )
    assert str(named.value.hint).startswith("name another socket with PLASM_SOCKET")


@pytest.mark.parametrize("mode", ["0600", "0660"])
@pytest.mark.trio
async def test_the_socket_is_open_to_those_it_is_meant_for(path: Path, mode: str) -> None:
    async with LocalTransport(socket=str(path), mode=mode).open(None, {PROTOCOL: ignore}):
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)


@pytest.mark.trio
async def test_the_socket_is_gone_when_the_daemon_is(path: Path) -> None:
    async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: ignore}):
        assert path.exists()

    assert list(path.parent.iterdir()) == []


@pytest.mark.trio
async def test_a_socket_that_a_killed_daemon_left_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: ignore}) as network:
        stream = await network.dial(f"unix:{path}", PROTOCOL)
        await stream.aclose()


@pytest.mark.trio
async def test_a_second_daemon_does_not_take_the_socket_of_the_first(path: Path) -> None:
    transport = LocalTransport(socket=str(path))

    async with transport.open(None, {PROTOCOL: ignore}) as first:
        with pytest.raises(TransportError, match=r"listens on .* already"):
            async with transport.open(None, {PROTOCOL: ignore}):
                raise AssertionError
        stream = await first.dial(f"unix:{path}", PROTOCOL)
        await stream.aclose()


@pytest.mark.parametrize("kind", ["file", "long", "unwritable"])
@pytest.mark.trio
async def test_an_impossible_socket_path_is_reported(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 150 if kind == "long" else "plasmd.sock")
    if kind == "file":
        path.write_text("precious")
    if kind == "unwritable":
        path = tmp_path / "missing" / "deeper" / "plasmd.sock"

    with pytest.raises(TransportError):
        async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: ignore}):
            raise AssertionError
    assert kind != "file" or path.read_text() == "precious"


@pytest.mark.trio
async def test_a_missing_group_is_reported(path: Path) -> None:
    with pytest.raises(TransportError, match="no group nosuchgroup"):
        async with LocalTransport(socket=str(path), group="nosuchgroup").open(None, {PROTOCOL: ignore}):
            raise AssertionError
    assert list(path.parent.iterdir()) == []


@pytest.mark.trio
async def test_more_connections_than_allowed_are_closed(path: Path) -> None:
    async with LocalTransport(socket=str(path), max_connections=2).open(None, {PROTOCOL: ignore}) as network:
        streams = [await network.dial(f"unix:{path}", PROTOCOL) for _ in range(2)]
        with pytest.raises(PeerUnreachableError), trio.fail_after(30):
            await network.dial(f"unix:{path}", PROTOCOL)
        for stream in streams:
            await stream.aclose()


@pytest.mark.trio
async def test_a_client_is_known_by_its_user(path: Path) -> None:
    groups = []

    async def note(stream: Stream) -> None:
        groups.append(stream.remote_group)

    async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: note}) as network:
        stream = await network.dial(f"unix:{path}", PROTOCOL)
        with trio.fail_after(30):
            await stream.receive_some()
        await stream.aclose()

    assert groups == [f"user {os.getuid()}"]


@pytest.mark.trio
async def test_a_system_that_passes_no_descriptors_takes_jobs_with_files_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon gets ready for descriptors for each job with files; macOS has no MSG_CMSG_CLOEXEC."""
    monkeypatch.setattr("plasm_transport_local.stream.PASSES_DESCRIPTORS", False)
    monkeypatch.delattr(socket, "MSG_CMSG_CLOEXEC", raising=False)
    received = []

    async def serve(stream: Stream) -> None:
        stream.accept_descriptors(True)
        received.append((await stream.receive_some(), stream.take_descriptor()))
        await stream.send_all(b"done")

    async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: serve}) as network:
        stream = await network.dial(f"unix:{path}", PROTOCOL)
        await stream.send_all(b"bytes")
        with trio.fail_after(30):
            await stream.receive_some()
        await stream.aclose()

    assert received == [(b"bytes", None)]


@pytest.mark.parametrize(
    "said", [b"x" * 65, b"x" * 5000 + b"\n", b"\n", b"\xff\n", b"GET / HTTP/1.1\r\n\r\n"]
)
@pytest.mark.trio
async def test_a_client_that_names_no_protocol_is_refused(path: Path, said: bytes) -> None:
    async with LocalTransport(socket=str(path)).open(None, {PROTOCOL: ignore}):
        connection = await trio.open_unix_socket(str(path))
        await connection.send_all(said)
        answer = b""
        with trio.fail_after(30):
            try:
                while data := await connection.receive_some():
                    answer += data
            except trio.BrokenResourceError:
                pass
        await connection.aclose()

    assert answer in (b"", b"na\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to a group that it is not in")
def test_a_user_without_access_gets_the_name_of_the_group() -> None:
    """As an operator's other users meet it: `plasm metrics` beside a daemon of the group's."""
    outsider = interpreter_of("ordinary")
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path = Path(directory) / "plasmd.sock"
        Path(directory).chmod(0o755)
        listening.bind(str(path))
        listening.listen()
        os.chown(path, -1, grp.getgrnam("games").gr_gid)
        path.chmod(0o660)
        outsider = attrs.evolve(outsider, environment={**outsider.environment, "PLASM_SOCKET": str(path)})

        told = outsider.run("-m", "plasm_core.cli", "metrics")

    assert told.returncode == exits.UNREACHABLE
    assert b"is not open to this user" in told.stderr
    assert b"sudo usermod -a -G games $USER" in told.stderr


@pytest.mark.trio
async def test_a_user_without_a_connection_takes_one_of_the_user_with_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here users are distinguished by their order of arrival: a test has one user id only."""
    users = iter([4001] * 8 + [4002] * 2)
    monkeypatch.setattr("plasm_transport_local.transport.user_of", lambda _sock: next(users, 4003))
    served: list[str] = []

    async def answer(stream: Stream) -> None:
        served.append(stream.remote_group)
        await stream.receive_some()

    path = tmp_path / "s"
    async with LocalTransport(socket=str(path), max_connections=8).open(None, {PROTOCOL: answer}):
        sockets = []
        for _ in range(10):
            sock = await trio.open_unix_socket(str(path))
            await sock.send_all(PROTOCOL.encode() + b"\n")
            with trio.fail_after(10), contextlib.suppress(trio.BrokenResourceError):  # as one is refused
                await sock.receive_some(1)
            sockets.append(sock)
        with trio.fail_after(10):
            while len(served) < 9:  # noqa: ASYNC110 - handlers tell nobody
                await trio.sleep(0.01)
        for sock in sockets:
            await sock.aclose()

    assert served.count("user 4001") == 7
    assert served.count("user 4002") == 2


@pytest.mark.parametrize("name", ["plasmd.sock", "a.sock"])
def test_the_longest_path_is_listened_on(name: str) -> None:
    """The temporary socket that is renamed to it must fit into sun_path as well."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # pytest's own directories are long already
        length = 103 - len(short) - len(name) - 2
        path = Path(short) / ("d" * length) / name
        assert len(str(path)) == 103

        with bind(path, mode=0o600, group=None) as sock:
            assert sock.getsockname().startswith(str(path.parent))
            assert [entry.name for entry in path.parent.iterdir()] == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are passed on Linux only")
@pytest.mark.trio
async def test_a_descriptor_that_comes_when_none_is_taken_any_more_is_closed(nursery: trio.Nursery) -> None:
    """The reader may have begun to wait for bytes while descriptors were still taken."""
    here, there = trio.socket.socketpair()
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    stream = LocalStream(trio.SocketStream(here), None)
    stream.accept_descriptors(True)
    received = trio.Event()

    async def receive() -> None:
        await stream.receive_some()
        received.set()

    with there:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        stream.accept_descriptors(False)
        await there.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", writer))])
        await received.wait()
        os.close(writer)

        assert os.read(reader, 1) == b""  # no one else has the other end open
    os.close(reader)
    await stream.aclose()
