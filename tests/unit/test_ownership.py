"""Keys, state and sockets are kept only where no other user can put another thing in their place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core import ownership
from plasm_core.errors import KeyFileError, TransportError
from plasm_core.ownership import check_directory
from plasm_core.paths import private_directory, secret
from plasm_signer_ed25519 import keyfile
from plasm_transport_local.listening import bind
from tests.support.cli import Plasm

OTHER = 54_321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def refused(path: Path, *, own: bool = True) -> str:
    """Return why a directory is refused."""
    with pytest.raises(PermissionError) as caught:
        check_directory(path, own=own)
    return str(caught.value)


def test_a_directory_of_our_own_is_taken(tmp_path: Path) -> None:
    check_directory(tmp_path)
    assert private_directory(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@as_root
def test_another_users_directory_is_refused_with_both_users(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER, -1)

    assert f"another user (uid {OTHER}, ours is 0)" in refused(tmp_path)
    with pytest.raises(PermissionError):
        private_directory(tmp_path)


@as_root
def test_what_is_authenticated_may_lie_below_others_but_not_be_theirs(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    path = private_directory(tmp_path / "open" / "cache", above=False)

    os.chown(path, OTHER, -1)
    with pytest.raises(PermissionError):
        private_directory(path, above=False)


@as_root
def test_a_directory_below_another_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "ours").mkdir(parents=True)
    os.chown(tmp_path / "theirs", OTHER, -1)

    assert "theirs" in refused(tmp_path / "theirs" / "ours")
    with pytest.raises(PermissionError):
        private_directory(tmp_path / "theirs" / "ours" / "new")


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o703])
def test_a_directory_below_a_world_writable_one_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open" / "ours").mkdir(parents=True)
    (tmp_path / "open").chmod(mode)

    assert "every user may change" in refused(tmp_path / "open" / "ours")


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o755])
def test_sticky_and_group_writable_directories_above_are_usual(tmp_path: Path, mode: int) -> None:
    (tmp_path / "tmp" / "ours").mkdir(parents=True)
    (tmp_path / "tmp").chmod(mode)

    check_directory(tmp_path / "tmp" / "ours")


def test_a_link_of_our_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "state").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")

    check_directory(tmp_path / "link" / "state")
    (tmp_path / "real").chmod(0o777)
    assert "every user" in refused(tmp_path / "link" / "state")


@as_root
@pytest.mark.parametrize("below", ["", "state"])
def test_a_link_of_another_user_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "real" / "state").mkdir(parents=True)
    (tmp_path / "theirs").symlink_to("real")
    os.chown(tmp_path / "theirs", OTHER, -1, follow_symlinks=False)
    (tmp_path / "ours").symlink_to("theirs")

    assert "theirs" in refused(tmp_path / "theirs" / below)
    assert "theirs" in refused(tmp_path / "ours" / below)


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="symbolic links"):
        check_directory(tmp_path / "a")


@as_root
def test_the_owner_of_what_is_outside_our_namespace_may_be_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rootless container, the host's root shows as the overflow user."""
    (tmp_path / "above" / "ours").mkdir(parents=True)
    os.chown(tmp_path / "above", ownership._overflow_uid(), -1)
    assert "above" in refused(tmp_path / "above" / "ours")

    (tmp_path / "uid_map").write_text("         0       1000          1\n")
    monkeypatch.setattr(ownership, "_UID_MAP", tmp_path / "uid_map")

    check_directory(tmp_path / "above" / "ours")
    assert "above" in refused(tmp_path / "above")


@as_root
def test_another_users_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    keyfile.create(path)
    os.chown(path, OTHER, -1)

    with pytest.raises(KeyFileError, match=f"belongs to another user .uid {OTHER}"):
        keyfile.load(path)


@as_root
def test_a_key_in_another_users_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    keyfile.create(tmp_path / "theirs" / "node.key")
    os.chown(tmp_path / "theirs", OTHER, -1)

    with pytest.raises(KeyFileError, match="another user"):
        keyfile.load(tmp_path / "theirs" / "node.key")


@as_root
def test_a_key_that_a_link_of_ours_leads_to_is_judged_where_it_is(tmp_path: Path) -> None:
    """The link is our own, but who owns the other directory puts another of our files, or a link, in its place."""
    (tmp_path / "theirs").mkdir()
    keyfile.create(tmp_path / "theirs" / "node.key")
    (tmp_path / "node.key").symlink_to(tmp_path / "theirs" / "node.key")
    assert keyfile.load(tmp_path / "node.key")
    os.chown(tmp_path / "theirs", OTHER, -1)

    with pytest.raises(KeyFileError, match="another user"):
        keyfile.load(tmp_path / "node.key")


def test_a_key_linked_into_a_world_writable_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    keyfile.create(tmp_path / "open" / "node.key")
    (tmp_path / "node.key").symlink_to(tmp_path / "open" / "node.key")
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(KeyFileError, match="every user may change"):
        keyfile.load(tmp_path / "node.key")


@as_root
@pytest.mark.parametrize("of", ["file", "link", "link's directory"])
def test_a_secret_that_another_user_knows_is_refused(tmp_path: Path, of: str) -> None:
    """With the cache's key, that user could have compiled code of its own taken for the node's."""
    path = tmp_path / "state" / "cache.key"
    known = secret(path)
    assert secret(path) == known
    if of == "file":
        os.chown(path, OTHER, -1)
    else:
        (tmp_path / "theirs").mkdir()
        path.rename(tmp_path / "theirs" / "key")
        path.symlink_to(tmp_path / "theirs" / "key")
        assert secret(path) == known
        os.chown(path if of == "link" else tmp_path / "theirs", OTHER, -1, follow_symlinks=False)

    with pytest.raises(PermissionError, match="another user"):
        secret(path)


_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from plasm_core.paths import secret
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    secret(Path(sys.argv[1]))
except OSError as exc:
    print(exc.strerror)
"""


def test_a_secret_that_could_not_be_written_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cache.key"
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "File too large\n"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("left", [b"", b"short"])
def test_a_damaged_secret_is_replaced_once(tmp_path: Path, left: bytes) -> None:
    """Otherwise each process draws its own key: no cache entry authenticates, and webhooks get other signatures."""
    path = tmp_path / "cache.key"
    path.write_bytes(left)
    path.chmod(0o600)

    first = secret(path)
    assert len(first) == 32
    assert secret(path) == first
    assert [item.name for item in tmp_path.iterdir()] == ["cache.key"]


def test_a_key_in_a_world_writable_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    keyfile.create(tmp_path / "open" / "node.key")
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(KeyFileError, match="every user may change"):
        keyfile.load(tmp_path / "open" / "node.key")


def test_a_socket_below_a_world_writable_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o" / "d").mkdir(parents=True)
    (tmp_path / "o").chmod(0o777)

    with pytest.raises(TransportError, match="every user may change"):
        bind(tmp_path / "o" / "d" / "s", mode=0o600, group=None)


def test_a_socket_may_lie_in_a_volume_that_all_may_write_to(tmp_path: Path) -> None:
    """Containers share such volumes. Clients look at whose process is behind the socket."""
    (tmp_path / "o").mkdir()
    (tmp_path / "o").chmod(0o777)

    sock = bind(tmp_path / "o" / "s", mode=0o600, group=None)

    assert isinstance(sock, socket.socket)
    sock.close()


def test_a_socket_in_a_sticky_directory_is_usual(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o").chmod(0o1777)

    sock = bind(tmp_path / "o" / "s", mode=0o600, group=None)
    assert isinstance(sock, socket.socket)
    sock.close()


@as_root
@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "STATE_DIRECTORY", "XDG_RUNTIME_DIR"])
def test_a_daemon_in_another_users_directory_does_not_start(tmp_path: Path, variable: str) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "plasm").mkdir(parents=True, mode=0o700)
    for path in (theirs, theirs / "plasm"):
        os.chown(path, OTHER, -1)
    environment = Plasm(tmp_path).environment({variable: str(theirs)})
    if variable != "XDG_RUNTIME_DIR":
        environment["PLASM_SOCKET"] = str(tmp_path / "s")

    done = subprocess.run(
        [sys.executable, "-m", "plasm_core.daemon"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode != 0
    assert "belongs to another user" in done.stderr
    assert "Traceback" not in done.stderr
