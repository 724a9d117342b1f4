"""Whose daemon a client believes: that of another ordinary user could answer anything."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from plasm_core.errors import ConfigError, PeerUnreachableError
from plasm_core.protocol import JOB_PROTOCOL
from plasm_transport_local.transport import LocalTransport
from tests.support.users import NOBODY

Server = Callable[[int], Path]

SERVE = """
import os, socket, sys
user = int(sys.argv[2])
if user != os.geteuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print("ready", flush=True)
kept = []
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100))
    kept.append(connection)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any user may enter, with a short name."""
    path = Path(tempfile.mkdtemp(prefix="plasm-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(place: Path) -> Iterator[Server]:
    """Start what listens in a directory of its user's, and answers as a daemon would at first."""
    started: list[subprocess.Popen[bytes]] = []

    def serve(user: int) -> Path:
        directory = place / "theirs"
        directory.mkdir()
        if user != os.geteuid():
            os.chown(directory, user, user)
        path = directory / "plasmd.sock"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SERVE, str(path), str(user)], stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return path

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def dial(path: Path, trusted_user: str | None = None) -> None:
    async def main() -> None:
        transport = LocalTransport(trusted_user=trusted_user)
        async with transport.open(None, {}) as network:
            await (await network.dial(f"unix:{path}", JOB_PROTOCOL)).aclose()

    trio.run(main)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's daemon")


def test_ones_own_daemon_is_believed(server: Server) -> None:
    dial(server(os.geteuid()))


@as_root
@pytest.mark.parametrize("way", ["straight", "a link", "a linked directory", "given to root"])
def test_the_process_of_another_user_is_not_believed(server: Server, place: Path, way: str) -> None:
    """The user of the process counts, not the socket's path or the owner of its files."""
    path = server(NOBODY)
    if way == "a link":
        (place / "own.sock").symlink_to(path)
        path = place / "own.sock"
    elif way == "a linked directory":
        (place / "own").symlink_to(path.parent)
        path = place / "own" / path.name
    elif way == "given to root":
        os.chown(path, 0, 0)
        os.chown(path.parent, 0, 0)

    with pytest.raises(PeerUnreachableError, match="not by you or root: it could answer anything"):
        dial(path)


@as_root
@pytest.mark.parametrize("name", [str(NOBODY), "nobody"])
def test_a_user_that_is_trusted_is_believed(server: Server, name: str) -> None:
    if name == "nobody" and pwd.getpwnam(name).pw_uid != NOBODY:
        pytest.skip("nobody has another number here")
    path = server(NOBODY)

    dial(path, trusted_user=name)
    with pytest.raises(PeerUnreachableError):
        dial(path, trusted_user="1")


def test_an_unknown_user_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"transport\.local\.trusted_user: there is no user no_such_user"):
        dial(Path("/nowhere"), trusted_user="no_such_user")
