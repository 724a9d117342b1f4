"""What the cache gives back is what was stored, by this node, under this name; or nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.sandbox.admission.cache import Cache, cache_key
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from tests.daemon.store.volume import read_only

KEY = bytes(range(32))
CONTENT = b"an artefact, compiled"
NOBODY = 65_534


def store(cache: Cache, name: str, content: bytes) -> None:
    """Store bytes under a name."""
    fd = sealed_blob("test", [content])
    try:
        cache.store(name, fd)
    finally:
        os.close(fd)


def fetch(cache: Cache, name: str) -> bytes | None:
    """Return what is stored under a name."""
    fd = cache.fetch(name)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path) -> Cache:
    return Cache(directory, KEY, 1 << 20)


def entries(directory: Path) -> list[Path]:
    """Return the files there are, oldest first."""
    return sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def the_entry(directory: Path) -> Path:
    """Return the one file there is."""
    (path,) = directory.iterdir()
    return path


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(3 << 18)])
def test_what_was_stored_is_found_again(cache: Cache, directory: Path, content: bytes) -> None:
    store(cache, "name", content)

    assert fetch(cache, "name") == content
    assert fetch(Cache(directory, KEY, 1 << 20), "name") == content
    assert fetch(cache, "other") is None


def test_an_entry_on_a_read_only_file_system_is_found(cache: Cache, directory: Path) -> None:
    """Only the time of its last use cannot be recorded, and compiling again would take minutes."""
    store(cache, "name", CONTENT)

    with read_only(directory):
        assert fetch(cache, "name") == CONTENT


def test_a_later_entry_takes_the_place_of_an_earlier(cache: Cache, directory: Path) -> None:
    store(cache, "name", b"old")
    store(cache, "name", b"new")

    assert fetch(cache, "name") == b"new"
    assert len(entries(directory)) == 1


def test_a_flipped_bit_anywhere_is_a_miss_and_ends_the_entry(cache: Cache, directory: Path) -> None:
    """wasmtime runs a compiled module with flipped bits, so nothing else would find them."""
    store(cache, "name", CONTENT)
    path = the_entry(directory)
    good = path.read_bytes()
    for position in range(8 * len(good)):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        path.write_bytes(bad)

        assert fetch(cache, "name") is None
        assert not path.exists()


def test_an_entry_cut_short_or_continued_is_a_miss(cache: Cache, directory: Path) -> None:
    store(cache, "name", CONTENT)
    path = the_entry(directory)
    good = path.read_bytes()
    for bad in [*(good[:length] for length in range(len(good))), good + b"\0", good + good]:
        path.write_bytes(bad)

        assert fetch(cache, "name") is None
        assert not path.exists()


def test_an_entry_does_not_pass_for_another(cache: Cache, directory: Path) -> None:
    """Renaming files must not swap one module's code for another's."""
    store(cache, "first", b"first")
    first = the_entry(directory)
    store(cache, "second", b"second")
    (second,) = set(entries(directory)) - {first}
    first.replace(second)

    assert fetch(cache, "second") is None
    assert not second.exists()
    assert fetch(cache, "first") is None


def test_an_entry_under_another_key_is_a_miss(cache: Cache, directory: Path) -> None:
    store(cache, "name", CONTENT)

    assert fetch(Cache(directory, KEY[::-1], 1 << 20), "name") is None


def test_what_was_fetched_cannot_be_changed_any_more(cache: Cache, directory: Path) -> None:
    """The copy that was authenticated is the copy that is used."""
    store(cache, "name", CONTENT)
    fd = cache.fetch("name")
    assert fd is not None
    the_entry(directory).write_bytes(b"evil")

    try:
        assert os.pread(fd, 100, 0) == CONTENT
        if hasattr(os, "memfd_create"):
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"evil", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def test_the_least_recently_used_goes_first(directory: Path) -> None:
    cache = Cache(directory, KEY, 3 * (1_000 + 32))
    for age, name in enumerate("abc"):
        store(cache, name, bytes(1_000))
        os.utime(entries(directory)[-1], (1_000_000 + age, 1_000_000 + age))
        # What is named last is the newest by its own time, set above, until it is used.
    assert fetch(cache, "a") is not None

    store(cache, "d", bytes(1_000))

    assert [name for name in "abcd" if fetch(cache, name) is not None] == ["a", "c", "d"]


def test_as_many_go_as_the_new_one_needs(directory: Path) -> None:
    cache = Cache(directory, KEY, 3_500)
    for name in "abc":
        store(cache, name, bytes(1_000))
        for path in directory.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))

    store(cache, "d", bytes(2_000))

    assert [name for name in "abcd" if fetch(cache, name) is not None] == ["c", "d"]
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 3_500


def test_an_entry_larger_than_the_cache_is_not_stored_and_evicts_nothing(directory: Path) -> None:
    cache = Cache(directory, KEY, 1_000)
    store(cache, "small", b"small")

    store(cache, "large", bytes(1_001))

    assert fetch(cache, "small") == b"small"
    assert fetch(cache, "large") is None


def test_an_entry_that_fits_only_without_its_tag_evicts_nothing(directory: Path) -> None:
    cache = Cache(directory, KEY, 1_000)
    store(cache, "small", b"small")
    os.utime(the_entry(directory), (1_000_000, 1_000_000))

    store(cache, "large", bytes(1_000 - 31))

    assert fetch(cache, "small") == b"small"


def test_a_quota_of_nothing_keeps_nothing(directory: Path) -> None:
    cache = Cache(directory, KEY, 0)

    store(cache, "name", b"x")

    assert list(directory.iterdir()) == []


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    for number, mode in enumerate((0o755, 0o777, 0o700)):
        path = tmp_path / str(number)
        path.mkdir()
        path.chmod(mode)
        store(Cache(path, KEY, 1 << 20), "name", CONTENT)

        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(the_entry(path).stat().st_mode) & 0o077 == 0


def test_a_directory_that_is_gone_is_survived(cache: Cache, directory: Path) -> None:
    shutil.rmtree(directory)
    store(cache, "name", CONTENT)
    assert fetch(cache, "name") is None

    directory.write_bytes(b"a file in its place")
    store(cache, "name", CONTENT)
    assert fetch(cache, "name") is None


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let writing fail behind so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_survived_and_leaves_nothing(cache: Cache, directory: Path) -> None:
    fd = sealed_blob("test", [bytes(10_000)])

    with files_of_at_most(5_000):
        cache.store("name", fd)

    os.close(fd)
    assert list(directory.iterdir()) == []
    assert fetch(cache, "name") is None


@pytest.fixture
def ordinary_users(tmp_path: Path) -> Iterator[Path]:
    """Give a directory of the user's own, who is not root: root may write anywhere."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as name:  # not below tmp_path, where only root may go
        os.chown(name, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@pytest.fixture
def unwritable(ordinary_users: Path) -> Iterator[Path]:
    """Give a cache's directory with an entry in it, to which nothing can be added or taken away."""
    directory = ordinary_users / "cache"
    store(Cache(directory, KEY, 1 << 20), "name", CONTENT)
    directory.chmod(0o500)
    yield directory
    directory.chmod(0o700)


def test_a_directory_that_cannot_be_written_is_survived(unwritable: Path) -> None:
    cache = Cache(unwritable, KEY, 1 << 20)

    store(cache, "other", CONTENT)

    assert fetch(cache, "name") == CONTENT
    assert fetch(cache, "other") is None


def test_an_entry_that_cannot_be_discarded_is_a_miss(unwritable: Path) -> None:
    the_entry(unwritable).write_bytes(b"evil")

    assert fetch(Cache(unwritable, KEY, 1 << 20), "name") is None


def test_a_foreign_file_in_place_of_an_entry_is_tolerated(cache: Cache, directory: Path) -> None:
    store(cache, "name", CONTENT)
    path = the_entry(directory)
    path.unlink()
    path.mkdir()

    assert fetch(cache, "name") is None
    store(cache, "name", CONTENT)
    assert fetch(cache, "name") is None


# -- the key


def test_the_key_is_made_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cache.key"

    first = cache_key(path)

    assert len(first) == 32
    assert cache_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_nodes_have_two_keys(tmp_path: Path) -> None:
    assert cache_key(tmp_path / "one") != cache_key(tmp_path / "two")


@pytest.mark.parametrize("damaged", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_not_used(tmp_path: Path, damaged: bytes) -> None:
    """The cache is lost and made again; a guessable key would break the sandbox."""
    path = tmp_path / "cache.key"
    path.write_bytes(damaged)

    first, second = cache_key(path), cache_key(path)

    assert len(first) == 32
    assert damaged not in (first, second)
    assert first != second or path.read_bytes() == first
