"""Output files: whole or not at all, and never in place of what is no regular file."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from plasm_core.errors import OutputFileError
from plasm_core.output_file import OutputFile
from tests.support.users import interpreter_of


def write(path: Path | str, data: bytes = b"new") -> None:
    OutputFile.prepared(path).write(data)


def test_a_new_file_is_written_with_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "r")
    finally:
        os.umask(before)

    assert (tmp_path / "r").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["r"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"older and longer")
    (tmp_path / "r").chmod(0o604)

    write(tmp_path / "r")

    assert (tmp_path / "r").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o604


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, hops: int, there: bool) -> None:
    (tmp_path / "other").mkdir()
    target = tmp_path / "other" / "target"
    if there:
        target.write_bytes(b"old")
    last = Path("other/target")
    for hop in range(hops):
        (tmp_path / f"link{hop}").symlink_to(last)
        last = Path(f"link{hop}")

    write(tmp_path / last)

    assert target.read_bytes() == b"new"
    assert (tmp_path / last).is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()

    write(tmp_path / "pipe", b"x" * 200_000)  # more than a pipe holds
    reader.join(60)

    assert [len(item) for item in got] == [200_000]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_output_to_our_descriptor_starts_at_its_offset(tmp_path: Path, name: str) -> None:
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        path = name.format(file.fileno())
        if name == "link":
            (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
            path = str(tmp_path / "link")

        write(path)

    assert (tmp_path / "out").read_bytes() == b"before new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "without a name"),
        ("directory", "it is a directory"),
        ("directory/", "it is a directory"),
        ("nowhere/r", "there is no directory"),
        ("new/", "names a directory"),
        ("file/r", "Not a directory"),
        ("loop", "symbolic link"),
        ("r\0s", "NUL"),
        ("/dev/fd/987", "ad file descriptor"),
        ("x" * 300, "too long"),
    ],
)
def test_an_unwritable_output_is_reported_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("directory").mkdir()
    Path("file").touch()
    Path("loop").symlink_to("loop")

    with pytest.raises(OutputFileError, match=reason):
        OutputFile.prepared(name).write(b"")


def test_a_link_at_a_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name cannot be guessed; even then O_EXCL refuses the link."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    monkeypatch.setattr("secrets.token_hex", lambda _count: "known")
    (tmp_path / ".plasm-known.new").symlink_to(victim)

    with pytest.raises(OutputFileError):
        write(tmp_path / "r")

    assert victim.read_bytes() == b"mine"


def test_temporary_names_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    replace = os.replace

    def watched(source: str, target: str, **directories: int) -> None:
        seen.append(source)
        replace(source, target, **directories)

    monkeypatch.setattr("os.replace", watched)
    # The first processes of a container have ids of one digit, which random names have, too.
    process_id = 10**15
    monkeypatch.setattr("os.getpid", lambda: process_id)

    write(tmp_path / "r")
    write(tmp_path / "r")

    assert len(set(seen)) == 2
    assert not any(str(process_id) in name for name in seen)


def test_a_file_that_becomes_a_link_meanwhile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    prepared = OutputFile.prepared(tmp_path / "r")
    (tmp_path / "r").symlink_to("victim")

    with pytest.raises(OutputFileError, match="no regular file"):
        prepared.write(b"new")

    assert (tmp_path / "victim").read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_link_of_another_user_in_a_directory_for_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "r").symlink_to("../victim")
    os.lchown(shared / "r", 65534, 65534)

    with pytest.raises(OutputFileError, match="another user"):
        write(shared / "r")

    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_directory_need_not_be_readable_to_take_a_file() -> None:
    """As a box into which everybody may drop files."""
    done = interpreter_of("ordinary").run(
        "-c",
        "import os, tempfile\n"
        "from plasm_core.output_file import OutputFile\n"
        "with tempfile.TemporaryDirectory() as home:\n"
        "    os.mkdir(home + '/box', 0o300)\n"
        "    for data in (b'old', b'new'):\n"
        "        OutputFile.prepared(home + '/box/r').write(data)\n"
        "    os.chmod(home + '/box', 0o700)\n"
        "    print(os.listdir(home + '/box'), os.stat(home + '/box/r').st_size)\n",
    )

    assert (done.stdout, done.returncode) == (b"['r'] 3\n", 0), done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_an_error() -> None:
    with pytest.raises(OutputFileError, match="No space left"):
        write("/dev/full")
