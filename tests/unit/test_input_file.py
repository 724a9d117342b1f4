"""Input files: what fstat(2) says of a size is not believed."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from plasm_core.client.upload import File
from plasm_core.input_file import TooLargeError, open_input, read_input

DATA = b"some input" * 20_000  # more than a pipe holds


def pipe(tmp_path: Path) -> str:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(DATA,), daemon=True).start()
    return str(path)


def link_to_pipe(tmp_path: Path) -> str:
    (tmp_path / "link").symlink_to(pipe(tmp_path))
    return str(tmp_path / "link")


def descriptor(tmp_path: Path) -> str:
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(DATA)

    threading.Thread(target=feed, daemon=True).start()
    return f"/dev/fd/{reading}"


def unwilling_descriptor(tmp_path: Path) -> str:
    """Non-blocking, as some programs leave the pipe that they share with us."""
    path = descriptor(tmp_path)
    os.set_blocking(int(path.rpartition("/")[2]), False)
    return path


def connection(tmp_path: Path) -> str:
    ours, theirs = socket.socketpair()

    def feed() -> None:
        with theirs:
            theirs.sendall(DATA)

    threading.Thread(target=feed, daemon=True).start()
    return f"/proc/self/fd/{ours.detach()}"


STREAMS = [pipe, link_to_pipe, descriptor, unwilling_descriptor, connection]


@pytest.mark.parametrize("make", STREAMS)
def test_a_stream_is_read_to_its_end(tmp_path: Path, make: Callable[[Path], str]) -> None:
    assert read_input(make(tmp_path), len(DATA)) == DATA


def test_a_regular_file_is_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(DATA * 50)
    tracemalloc.start()
    try:
        data = read_input(path, 1 << 30)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data == DATA * 50
    assert peak_bytes < 1.5 * len(data)


@pytest.mark.parametrize("make", STREAMS)
def test_a_stream_can_be_submitted(tmp_path: Path, make: Callable[[Path], str]) -> None:
    file = File(Path(make(tmp_path)))

    assert (file.size_bytes, file.digest) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert file.read(0, 10) + file.read(10, len(DATA)) == DATA
    file.close()


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/ostype", "/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"]
)
def test_a_file_without_a_size_can_be_submitted(path: str) -> None:
    if not os.path.exists(path):
        pytest.skip("not here")
    file = File(Path(path))

    data = file.read(0, 1 << 20)

    assert data
    assert (file.size_bytes, file.digest) == (len(data), hashlib.sha256(data).hexdigest())
    file.close()


def test_a_file_that_grew_is_sent_as_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one")
    file = File(path)
    path.write_bytes(b"one two")

    assert (file.size_bytes, file.read(0, 100)) == (7, b"one two")

    path.write_bytes(b"one two three")
    assert file.read(0, 100) == b"one two"
    file.close()


def test_a_file_that_shrank_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one two")
    file = File(path)
    assert file.size_bytes == 7
    path.write_bytes(b"one")

    with pytest.raises(OSError, match="cut short"):
        file.read(0, 100)
    file.close()


def test_a_sparse_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(5 << 20)

    source = File(path)

    assert (source.size_bytes, source.read(4 << 20, 1)) == (5 << 20, b"\0")
    source.close()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom"])
def test_an_endless_file_is_refused(path: str) -> None:
    with pytest.raises(TooLargeError, match="more than 1000 bytes"):
        read_input(path, 1000)
    with pytest.raises(TooLargeError, match="more than 3000000 bytes"):
        File(Path(path), maximum=3_000_000)


@pytest.mark.parametrize("path", ["half \ud800", "-\0", "/", "/nowhere", "a\0b", "/dev/fd/987"])
def test_an_unreadable_file_is_an_error_that_names_it(path: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        open_input(path)

    assert caught.value.filename == path
    assert caught.value.strerror
