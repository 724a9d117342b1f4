"""Archives as input trees: what they hold, and every way in which a hostile one is refused before it is read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plasm_core.client import tree_archive
from plasm_core.client.file_tree import FileTree, FileTreeError
from plasm_core.client.tar_reader import MAX_HEADER_BYTES
from plasm_core.sandbox.process.file_pack import FilePack

LONG = "/".join(["d" * 100] * 5)
FILES: dict[str, bytes] = {
    "a": b"first",
    "b/c": bytes(range(256)) * 300,
    "b/empty": b"",
    "b/twin": b"first",
    f"{LONG}/é": b"deep",
}


def member(name: str, data: bytes = b"", **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def whole_tar(form: int) -> bytes:
    directory = (member("b", type=tarfile.DIRTYPE), b"")
    return tar_bytes(
        directory, *((member(f"./{name}", data), data) for name, data in FILES.items()), form=form
    )


def whole_zip(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("b/", b"")
        for name, data in FILES.items():
            made.writestr(name, data)
    return buffer.getvalue()


def packed(data: bytes, directory: Path, guest: str = "") -> FilePack:
    file = directory / "archive"
    file.write_bytes(data)
    with FileTree() as tree:
        tree.add_archive(file, guest)
        return tree.pack()


def expected(guest: str = "") -> str:
    tree = FileTree()
    tree.make_directory(guest)
    for name, data in FILES.items():
        tree.add_bytes(data, f"{guest}/{name}")
    with tree.pack() as pack:
        return pack.tree


def refusal(data: bytes, directory: Path) -> str:
    before = sorted(path for path in directory.rglob("*") if path.name != "archive")
    with pytest.raises(FileTreeError) as caught:
        packed(data, directory).close()
    assert sorted(path for path in directory.rglob("*") if path.name != "archive") == before
    return str(caught.value)


@pytest.mark.parametrize("guest", ["", "in/deep"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: whole_tar(tarfile.PAX_FORMAT),
        lambda: whole_tar(tarfile.GNU_FORMAT),
        lambda: gzip.compress(whole_tar(tarfile.PAX_FORMAT)),
        lambda: bz2.compress(whole_tar(tarfile.PAX_FORMAT)),
        lambda: lzma.compress(whole_tar(tarfile.PAX_FORMAT)),
        whole_zip,
        lambda: whole_zip(zipfile.ZIP_STORED),
        lambda: whole_zip(zipfile.ZIP_BZIP2),
    ],
)
def test_an_archive_gives_the_tree_of_its_files(
    make: Callable[[], bytes], guest: str, tmp_path: Path
) -> None:
    with packed(make(), tmp_path, guest) as pack:
        assert pack.tree == expected(guest)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (member("../x"), "leads out of the archive"),
        (member("a/../../x"), "leads out of the archive"),
        (member("/etc/passwd"), "is an absolute path"),
        (member("x", type=tarfile.SYMTYPE, linkname="a"), "is a symbolic link"),
        (member("x", type=tarfile.LNKTYPE, linkname="a"), "is a hard link"),
        (member("x", type=tarfile.CHRTYPE), "is a device"),
        (member("x", type=tarfile.BLKTYPE), "is a device"),
        (member("x", type=tarfile.FIFOTYPE), "is a pipe"),
        (member("x", type=b"Z"), "of the unknown kind"),
        (member("a"), "named twice"),
        (member("a/x"), "is a file and a directory"),
        (member("x" * 256), "more than 255 bytes"),
        (member("/".join(["y" * 200] * 6)), "a path of"),
    ],
)
def test_entries_that_a_tree_cannot_have_are_refused(
    info: tarfile.TarInfo, words: str, tmp_path: Path
) -> None:
    assert words in refusal(tar_bytes((member("a", b"1"), b"1"), (info, b"")), tmp_path)


@pytest.mark.parametrize(
    ("name", "attributes", "words"),
    [
        ("../x", 0, "leads out of the archive"),
        ("/x", 0, "is an absolute path"),
        ("link", (stat.S_IFLNK | 0o777) << 16, "is a link or a device"),
        ("device", (stat.S_IFCHR | 0o666) << 16, "is a link or a device"),
        ("a", 0, "named twice"),
    ],
)
def test_entries_that_a_tree_cannot_have_are_refused_in_a_zip(
    name: str, attributes: int, words: str, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a", b"1")
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, attributes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "warnings.warn", lambda *_a, **_k: None
            )  # zipfile warns its writer of a second name
            made.writestr(info, b"a")

    assert words in refusal(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_bomb_is_refused_when_it_has_given_its_share(
    compress: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_archive, "MAX_BYTES", 1 << 20)
    bomb = tar_bytes((member("zeros", bytes(8 << 20)), bytes(8 << 20)))

    assert "more than 1048576 bytes" in refusal(compress(bomb), tmp_path)
    assert "its files have more than 1048576 bytes" in refusal(bomb, tmp_path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_archive, "MAX_BYTES", 1 << 20)
    buffer, data = io.BytesIO(), bytes(2 << 20)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("zeros", data)

    opened: list[object] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *words, **_: opened.append(words))

    assert "its files have more than 1048576 bytes" in refusal(buffer.getvalue(), tmp_path)
    assert opened == []


def test_a_file_of_a_zip_is_unpacked_piece_by_piece_with_each_method(tmp_path: Path) -> None:
    """A megabyte of bzip2 may be 20 GiB of zeros: unpacked at once they end the process, whatever sizes are stated."""
    size = 32 << 20
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "bomb", "w", method) as made, made.open("zeros", "w") as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))

        room, read = memoryview(bytearray(1 << 18)), 0
        with contextlib.closing(tree_archive.TreeArchive(tmp_path / "bomb")) as archive:
            (entry,) = archive
            assert entry.open is not None
            tracemalloc.start()
            try:
                with entry.open() as opened:
                    while count := opened.readinto(room):
                        read += count
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()

        assert read == size
        assert peak < size // 4, method


@pytest.mark.parametrize("field", [16, 20])
def test_a_file_of_a_zip_that_bzip2_does_not_give_back_is_refused(field: int, tmp_path: Path) -> None:
    """`field`: where the central directory has the CRC-32 and the compressed size of the file."""
    data = bytearray(whole_zip(zipfile.ZIP_BZIP2))
    data[data.rindex(b"b/c") - 46 + field] ^= 0x10

    assert "it is damaged" in refusal(bytes(data), tmp_path)


def test_a_zip_with_too_many_entries_is_refused_before_its_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zipfile makes an object of each, which is ten times as large as the entry."""
    monkeypatch.setattr(tree_archive, "MAX_ENTRIES", 10)
    data, opened = io.BytesIO(), []
    with zipfile.ZipFile(data, "w") as made:
        for number in range(11):
            made.writestr(f"{number}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *words: opened.append(words))

    assert "it has more than 10 entries" in refusal(data.getvalue(), tmp_path)
    assert opened == []


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    data = whole_zip(zipfile.ZIP_STORED)
    size = len(FILES["b/c"]).to_bytes(4, "little")
    lying = data.replace(size + size, (100).to_bytes(4, "little") * 2)

    assert lying != data
    assert "it is damaged" in refusal(lying, tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_archive, "MAX_ENTRIES", 10)
    many = [(member(f"{number}"), b"") for number in range(11)]

    assert "it has more than 10 entries" in refusal(tar_bytes(*many), tmp_path)


def test_a_header_is_bounded(tmp_path: Path) -> None:
    header = member("x", type=tarfile.XHDTYPE, size=MAX_HEADER_BYTES + 1)
    data = header.tobuf(tarfile.USTAR_FORMAT) + bytes(MAX_HEADER_BYTES + 512)

    assert f"more than {MAX_HEADER_BYTES}" in refusal(data, tmp_path)


def test_a_size_beyond_the_end_is_refused(tmp_path: Path) -> None:
    header = member("x", size=8**11 - 1).tobuf(tarfile.GNU_FORMAT)

    assert "cut short" in refusal(header + bytes(1024), tmp_path)


def test_a_zip64_directory_and_a_large_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = whole_zip()
    end = data.rindex(b"PK\x05\x06")
    assert "zip64" in refusal(data[:end] + b"PK\x06\x07" + bytes(16) + data[end:], tmp_path)

    monkeypatch.setattr(tree_archive, "_MAX_DIRECTORY_BYTES", 10)
    assert "its directory has more than 10 bytes" in refusal(data, tmp_path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with FileTree() as tree, pytest.raises(FileTreeError, match="no regular file"):
        tree.add_archive(tmp_path / "pipe", "")


@pytest.mark.parametrize("seed", range(8))
def test_damaged_archives_are_refused_or_are_a_tree(seed: int, tmp_path: Path) -> None:
    """600 archives in all, with a few bytes changed or cut off: nothing else than these two may come of any."""
    draw = random.Random(seed)
    sound = [
        whole_tar(tarfile.PAX_FORMAT),
        whole_tar(tarfile.GNU_FORMAT),
        gzip.compress(whole_tar(tarfile.PAX_FORMAT)),
        lzma.compress(whole_tar(tarfile.PAX_FORMAT)),
        whole_zip(),
    ]
    refused = 0
    for number in range(75):
        data = bytearray(draw.choice(sound))
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(len(data))] = draw.choice((0, 0xFF, draw.randrange(256)))
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        place = tmp_path / str(number)
        place.mkdir()
        try:
            packed(bytes(data), place).close()
        except FileTreeError:
            refused += 1
        assert [path.name for path in place.iterdir()] == ["archive"]
    assert refused > 10
