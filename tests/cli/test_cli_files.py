"""Run jobs with files by the command, verify all that they left, and keep hostile names in their place."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from plasm_core.client.output_tree import Destination
from plasm_core.errors import OutputFileError
from plasm_core.records import sha256
from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.sandbox.process.collected_files import CollectedFiles
from plasm_core.sandbox.process.tree_packing import pack_tree
from plasm_core.sandbox.process.worker_frames import DATA, ENTRY, pack_entry
from plasm_core.testing.bench import MODULES
from plasm_core.tree_listing import DIRECTORY, FILE
from tests.support.cli import FAILURE, JOB_FAILED, OK, REJECTED, USAGE, Done
from tests.support.users import NOBODY

Here = Callable[..., Done]
MODULE = str(MODULES / "files.wasm")
CONTENT = b"some data\n" * 10_000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with input for the job, which is the current one."""
    directory = tmp_path / "place"
    (directory / "in").mkdir(parents=True)
    (directory / "in" / "data").write_bytes(CONTENT)
    monkeypatch.chdir(directory)
    return directory


def run(here: Here, *options: str) -> Done:
    return here("run", MODULE, "--receipt", "r.json", *options)


def test_a_directory_goes_in_and_another_comes_out(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in", "--out", "out/:results")

    assert (done.code, done.out) == (OK, b"\x45")  # rofs: in is read-only
    assert (place / "results" / "copy").read_bytes() == CONTENT
    assert struct.unpack("<I", (place / "results" / "sub" / "length").read_bytes()) == (len(CONTENT),)
    assert sorted(os.listdir(place)) == ["in", "r.json", "results"]
    assert (place / "in" / "data").read_bytes() == CONTENT


def test_with_rw_the_job_changes_its_own_copy(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in:rw", "--out", "out/:results", "--out", "in/data:changed")

    assert (done.code, done.out) == (OK, b"\0")
    assert (place / "changed").read_bytes() == b""
    assert (place / "in" / "data").read_bytes() == CONTENT


def test_a_file_goes_in_under_another_name_and_one_comes_out(here: Here, place: Path) -> None:
    (place / "in" / "data").rename(place / "mine")

    assert run(here, "--file", "mine:in/data", "--out", "out/copy").code == OK
    assert (place / "copy").read_bytes() == CONTENT


@pytest.mark.parametrize("form", ["tar", "gztar", "zip"])
def test_an_archive_is_the_input_tree(here: Here, place: Path, form: str) -> None:
    archive = shutil.make_archive(str(place / "input"), form, place, "in")
    shutil.make_archive(str(place / "inner"), form, place / "in")
    inner = archive.replace("input.", "inner.")

    assert run(here, "--tree", archive, "--out", "out/copy").code == OK
    assert (place / "copy").read_bytes() == CONTENT
    assert here("verify", "r.json", "--tree", archive, "--out", "out/copy").code == OK
    assert run(here, "--tree", f"{inner}:in", "--out", "out/copy").code == OK
    assert here("verify", "r.json", "--dir", "in:in", "--out", "out/copy").code == OK


def test_a_hostile_archive_is_refused(here: Here, place: Path) -> None:
    with tarfile.open(place / "bad.tar", "w") as made:
        made.addfile(tarfile.TarInfo("../outside"))
    done = run(here, "--tree", "bad.tar", "--out", "out/copy")

    assert (done.code, "bad.tar: '../outside' leads out of the archive" in done.err) == (FAILURE, True)


def test_json_tells_what_the_receipt_says_of_the_files(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in", "--out", "out/copy", "--json")

    assert json.loads(done.out)["files"] == [{"path": "out/copy", "kind": "file", "sha256": sha256(CONTENT)}]
    assert (place / "copy").read_bytes() == CONTENT


VERIFY = ("verify", "r.json", "--dir", "in:in", "--out", "out/:results")


def test_verification_covers_every_file(here: Here, place: Path) -> None:
    run(here, "--dir", "in:in", "--out", "out/:results")

    done = here(*VERIFY)

    assert done.code == OK
    assert "input files, output 'out' as expected" in done.out.decode()


def test_a_job_with_files_is_run_again_elsewhere(here: Here, place: Path) -> None:
    pytest.importorskip("wasm3")
    run(here, "--dir", "in:in", "--out", "out/:results")

    done = here(*VERIFY, "--module", MODULE, "--verifier", "signature,reexecute")

    assert done.code == OK
    assert re.search(r"re-executed on (v8|wasm3)\n", done.out.decode())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda place: flip(place / "results" / "copy"),
        lambda place: flip(place / "results" / "sub" / "length"),
        lambda place: (place / "results" / "copy").rename(place / "results" / "copied"),
        lambda place: (place / "results" / "copy").unlink(),
        lambda place: (place / "results" / "more").write_bytes(b""),
        lambda place: (place / "results" / "more").mkdir(),
        lambda place: (place / "results").rename(place / "others"),
        lambda place: flip(place / "in" / "data"),
    ],
    ids=["byte", "inner-byte", "renamed", "missing", "added", "added-directory", "gone", "input"],
)
def test_any_difference_is_rejected(here: Here, place: Path, change: Callable[[Path], object]) -> None:
    run(here, "--dir", "in:in", "--out", "out/:results")
    change(place)

    done = here(*VERIFY)

    assert done.code == REJECTED
    assert "is not what the receipt says" in done.out.decode()


def test_an_output_that_is_missing_fails_the_command(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in", "--out", "out/:results", "--out", "nothing")

    assert done.code == JOB_FAILED
    assert "the job left no nothing" in done.err
    assert (place / "results" / "copy").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--dir", "missing:in"), FAILURE, "cannot read missing"),
        (("--file", "missing"), FAILURE, "cannot read missing"),
        (("--file", "in"), FAILURE, "in is no regular file"),
        (("--file", "in/data:../x"), FAILURE, "has an empty name, . or .."),
        (("--file", "in/data:" + "x" * 256), FAILURE, "more than 255 bytes"),
        (("--file", "in/data:in", "--dir", "in:in"), FAILURE, "is a file and a directory"),
        (("--file", "in/data:x", "--file", "in/data:x"), FAILURE, "named twice"),
        (("--out", "a:x", "--out", "b:x"), USAGE, "two outputs would go to"),
        (("--out", "a", "--out", "a:b"), USAGE, "named twice"),
        (("--out", "."), USAGE, "say where it goes"),
        (("--out", "a", "--out", "a/b"), FAILURE, "lies in another output"),
        (("--out", "out:in"), FAILURE, "the directory is not empty"),
        (("--out", "out:none/there"), FAILURE, "there is no directory"),
        (("--file-limit", "bytes=1"), USAGE, "has no effect without"),
        (("--file", "in/data", "--file-limit", "colour=1"), USAGE, "expected bytes, entries, descriptors"),
        (("--links", "follow"), USAGE, "has no effect without it"),
    ],
)
def test_impossible_requests_are_reported_before_the_job_runs(
    here: Here, place: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    done = run(here, *options)

    assert (done.code, done.out) == (code, b"")
    assert words in " ".join(done.err.split())
    assert not (place / "r.json").exists()


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--file", "dta"), "--file dta: cannot read dta: No such", "the directory . has no dta"),
        (("--file", "in/dat"), "--file in/dat: cannot read in/dat: No such", "did you mean in/data?"),
        (("--file", "no/data"), "cannot read no/data: No such", "there is no directory ./no"),
        (("--file", "in/data/x"), "cannot read in/data/x: Not a directory", "in/data is a file"),
        (("--file", "in"), "--file in: in is no regular file", "give it with --dir in:in"),
        (("--file", "a:b"), "cannot read a: No such", "a colon ends the path of this machine"),
        (("--dir", "guest:in"), "cannot read guest: No such", "comes first: --dir in:guest"),
        (("--dir", "inn:in"), "cannot read inn: No such", "did you mean in?"),
        (("--dir", "in/data:x"), "cannot read in/data: Not a dir", "give it with --file in/data:x"),
        (("--tree", "in:x"), "--tree in:x: cannot read in: Is a directory", "give it with --dir in:in"),
        (("--file", "dead"), "cannot read dead: No such", "a symbolic link to gone, which leads nowhere"),
        (("--dir", "round:in"), "cannot read round: Too many", "a symbolic link to round, which leads now"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit", "map"])
def test_a_path_that_cannot_be_read_is_followed_by_what_may_be_meant(
    here: Here, place: Path, command: str, options: tuple[str, ...], message: str, hint: str
) -> None:
    """Each command takes a job's files by the same options, and a mistake in one is found before a job is sent."""
    (place / "a:b").touch()
    (place / "dead").symlink_to("gone")
    (place / "round").symlink_to("round")
    more = ("--range", "1", "--batch", "kept") if command == "map" else ()
    done = here(command, MODULE, *more, *options)
    error, advice = done.err.replace(str(place), ".").splitlines()

    assert done.code == FAILURE
    assert message in error
    assert advice.startswith("hint: ")
    assert hint in advice


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("run", "fils.wasm"), "did you mean files.wasm?"),
        (("map", MODULE, "--lines", "lnes"), "did you mean lines?"),
        (("map", MODULE, "--inputs", "lnes"), "did you mean lines?"),
        (("verify", "r.jsn"), "did you mean r.json?"),
        (("verify", "r.json", "--module", "fils.wasm"), "did you mean files.wasm?"),
    ],
)
def test_other_missing_files_are_named_alike(
    here: Here, place: Path, words: tuple[str, ...], hint: str
) -> None:
    for name in ("files.wasm", "lines", "r.json"):
        (place / name).touch()

    assert f"hint: {hint}" in here(*words).err.splitlines()


def test_links_are_refused_or_followed_by_option(here: Here, place: Path) -> None:
    (place / "secret").write_bytes(b"secret")
    (place / "in" / "link").symlink_to("../secret")
    (place / "in" / "back").symlink_to(".")

    refused = run(here, "--dir", "in:in", "--out", "in:copy")
    (place / "in" / "back").unlink()
    followed = run(here, "--dir", "in:in", "--out", "out/:o", "--out", "in:copy", "--links", "follow")

    assert refused.code == FAILURE
    assert "is a symbolic link; --links follow" in refused.err
    assert followed.code == OK
    assert (place / "copy" / "link").read_bytes() == b"secret"
    assert not (place / "copy" / "link").is_symlink()


def test_a_link_to_a_directory_around_it_ends(here: Here, place: Path) -> None:
    (place / "in" / "back").symlink_to(".")

    done = run(here, "--dir", "in:in", "--links", "follow")

    assert done.code == FAILURE
    assert "a link to a directory that it lies in" in done.err


def test_a_pipe_in_a_directory_is_not_waited_for(here: Here, place: Path) -> None:
    os.mkfifo(place / "in" / "pipe")

    assert "pipe is no regular file" in run(here, "--dir", "in:in").err


def test_a_quota_that_is_reached_is_an_error_for_the_job(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in", "--out", "out/:results", "--file-limit", "bytes=1000")

    assert done.code == JOB_FAILED
    assert "exited with code 51" in done.err
    assert (place / "results" / "copy").read_bytes() == CONTENT[:1000]


def test_the_receipt_says_what_was_asked(here: Here, place: Path) -> None:
    run(here, "--dir", "in:in", "--out", "out/:results", "--manifest", "m.json")
    manifest = json.loads((place / "m.json").read_bytes())

    assert manifest["profile"] == "plasm.det/v2"
    assert manifest["files"]["read_only"] == ["in"]
    assert here("verify", "r.json", "--manifest", "m.json").code == OK


# -- names that a job chose, on the host

HOSTILE = [
    *(
        b"-rf",
        b"~",
        b"$(x)",
        b"a\\..\\b",
        b"CON",
        b"x" * 255,
        b"\x1b[2J",
        b"new\nline",
        b".hidden",
        b" ",
        b"Case",
        b"case",
    ),
    *("é".encode(), "e\u0301".encode(), "\u202egnp".encode(), b"%2e%2e", b"*", b"|", b"..."),
]


def collected(frames: list[tuple[int, bytes]]) -> CollectedFiles:
    with pack_tree([]) as pack:
        limits = FileLimits(data_bytes=1_000_000, entries=1_000, descriptors=4)
        left = CollectedFiles(JobFiles(tree=pack.tree, read_only=(), outputs=("o",), limits=limits), pack)
    for kind, body in frames:
        left.take(kind, body)
    left.finish()
    return left


def tree_of(names: list[bytes]) -> list[tuple[int, bytes]]:
    frames = [(ENTRY, pack_entry(0, DIRECTORY, 0, b""))]
    for name in sorted(names):
        frames += [(ENTRY, pack_entry(0, FILE, len(name), name)), (DATA, name)]
    return frames


def test_hostile_names_stay_inside_the_directory(tmp_path: Path) -> None:
    left = collected(tree_of(HOSTILE))
    Destination.prepared(str(tmp_path / "results")).write(left, left.entries("o"))
    left.close()

    assert os.listdir(tmp_path) == ["results"]
    found = {
        os.fsencode(entry): Path(tmp_path / "results" / entry).read_bytes()
        for entry in os.listdir(tmp_path / "results")
    }
    assert found == {name: name for name in HOSTILE}


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """The directory appears whole or not at all."""
    left = collected(tree_of([b"a", b"b"]))
    place = Destination.prepared(str(tmp_path / "results"))
    (tmp_path / "results").write_bytes(b"came meanwhile")

    with pytest.raises(OutputFileError):
        place.write(left, left.entries("o"))
    left.close()

    assert os.listdir(tmp_path) == ["results"]
    assert (tmp_path / "results").read_bytes() == b"came meanwhile"


def test_a_place_that_is_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    left = collected(tree_of([b"a"]))
    Destination.prepared(str(tmp_path / "link")).write(left, left.entries("o"))
    left.close()

    assert (tmp_path / "real" / "a").read_bytes() == b"a"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user plant a link")
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_place_that_is_another_users_link_is_refused(tmp_path: Path, slash: str) -> None:
    """In /tmp, it would lead what a job left to where the other user wants it."""
    common, elsewhere = tmp_path / "common", tmp_path / "elsewhere"
    common.mkdir()
    common.chmod(0o1777)
    elsewhere.mkdir()
    (common / "out").symlink_to(elsewhere)
    os.chown(common / "out", NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(OutputFileError, match="another user"):
        Destination.prepared(f"{common}/out{slash}")
    os.chown(common / "out", 0, 0, follow_symlinks=False)
    Destination.prepared(f"{common}/out{slash}")


def test_a_file_for_a_device_does_not_replace_it(here: Here, place: Path) -> None:
    done = run(here, "--dir", "in:in", "--out", "out/copy:/dev/null")

    assert (done.code, Path("/dev/null").is_char_device()) == (OK, True)
