"""The folder of a batch on the disk."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import IO

import pytest

from plasm_core.batch.folder import BatchFolder, BatchFolderError
from plasm_core.batch.rows import BatchJobResult, BatchJobState, NewJob
from plasm_core.cli.batch_results import Results
from plasm_core.client.output_tree import prepared_folder
from plasm_core.errors import OutputFileError, StorageError
from tests.support.users import NOBODY


def module(file: IO[bytes]) -> None:
    with file:
        file.write(b"\0asm")


def made(path: Path, jobs: int = 3) -> BatchFolder:
    folder = BatchFolder.create(path, {"planned": jobs}, module)
    folder.add(0, [NewJob(f"job {number}", b"", b"", b"x", None, None) for number in range(jobs)])
    return folder


def test_what_was_stored_is_there_after_a_crash(tmp_path: Path) -> None:
    folder = made(tmp_path / "b")
    folder.sending([(0, b"manifest", b"s" * 32)])
    folder.finish([BatchJobResult(number=1, state=BatchJobState.ERROR, error="why")])
    folder.close()

    with BatchFolder.open(tmp_path / "b") as again:
        first, third = again.to_send(-1, 10)

        assert (first.manifest, first.secret, first.state) == (b"manifest", b"s" * 32, BatchJobState.SENT)
        assert third.state is BatchJobState.WAITING
        assert again.counts().error == 1
        assert again.facts()["planned"] == 3


def test_results_come_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    with made(tmp_path / "b") as folder:
        folder.finish(
            [
                BatchJobResult(number=0, state=BatchJobState.ERROR),
                BatchJobResult(number=2, state=BatchJobState.ERROR),
            ]
        )

        assert [row.number for row in folder.results(-1, 10)] == [0]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Anybody who has a handle can read and cancel the job."""
    with made(tmp_path / "b"):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "b").iterdir()}

        assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o700
        assert set(modes.values()) == {0o600}, modes


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    with made(tmp_path / "b"), pytest.raises(BatchFolderError, match="another process"):
        BatchFolder.open(tmp_path / "b")


def test_a_folder_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")

    with pytest.raises(BatchFolderError, match="is not empty"):
        made(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "b").close()
    with sqlite3.connect(tmp_path / "b" / "batch.sqlite") as sql:
        sql.execute("PRAGMA user_version = 99")
    sql.close()

    with pytest.raises(BatchFolderError, match="another format"):
        BatchFolder.open(tmp_path / "b")


@pytest.mark.parametrize("text", [b"", b"no database at all, and long enough to be read as a header " * 20])
def test_a_folder_without_a_batch_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "batch.sqlite").write_bytes(text)

    with pytest.raises(BatchFolderError):
        BatchFolder.open(tmp_path)


def test_an_empty_folder_has_no_batch(tmp_path: Path) -> None:
    with pytest.raises(BatchFolderError, match="has no batch"):
        BatchFolder.open(tmp_path)


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    with made(tmp_path / "b") as folder:
        folder._connection.execute("PRAGMA max_page_count = 1")  # as a full disk does, SQLITE_FULL
        with pytest.raises(StorageError, match=r"cannot write the batch .* full") as caught:
            folder.finish([BatchJobResult(number=0, state=BatchJobState.SUCCEEDED, stdout=b"x" * 200_000)])
        folder._connection.execute("PRAGMA max_page_count = 1000000")

        assert "--resume" in (caught.value.hint or "")
        assert folder.counts().waiting == 3


def test_a_failed_job_is_run_again_as_another_job(tmp_path: Path) -> None:
    with made(tmp_path / "b") as folder:
        folder.sending([(0, b"manifest", b"s" * 32)])
        folder.finish(
            [
                BatchJobResult(number=0, state=BatchJobState.FAILED),
                BatchJobResult(number=1, state=BatchJobState.SUCCEEDED),
            ]
        )

        assert folder.again() == 1
        assert folder.row(0).manifest is None
        assert folder.row(1).state is BatchJobState.SUCCEEDED


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Another user could replace the module there, and wait for the handles."""
    with made(tmp_path / "theirs"):
        pass
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    (tmp_path / "empty").mkdir()
    os.chown(tmp_path / "empty", NOBODY, NOBODY)

    with pytest.raises(BatchFolderError, match="belongs to another user") as refused:
        made(tmp_path / "empty")
    assert "--batch" in str(refused.value.hint)
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(BatchFolderError, match="belongs to another user"):
        BatchFolder.open(tmp_path / "theirs")
    with BatchFolder.open(tmp_path / "theirs", to_read=True) as read:
        assert read.counts().waiting == 3


def test_a_link_planted_next_to_a_result_is_not_followed(tmp_path: Path) -> None:
    """Into a folder of results that others may write to."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    out = tmp_path / "out"
    (out / "000000").mkdir(parents=True)
    for name in ("stdout", "stderr", "receipt.json", "manifest.json", "error"):
        for planted in (name, f"{name}.part"):
            (out / "000000" / planted).symlink_to(precious)

    with made(tmp_path / "b") as folder:
        folder.finish([BatchJobResult(number=0, state=BatchJobState.ERROR, error="why")])
        Results(folder, form="none", out=out).write(list(folder.results(-1, 10)))

    assert precious.read_text() == "mine"
    assert (out / "000000" / "error").read_text() == "why\n"


def test_a_link_that_was_planted_in_place_of_a_folder_of_results_is_refused(tmp_path: Path) -> None:
    """In a directory that others may write to, it would have files replaced and deleted elsewhere."""
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.mkdir()
    (precious / "error").write_text("mine")
    out.mkdir()
    (out / "000000").symlink_to(precious)

    with made(tmp_path / "b") as folder:
        folder.finish([BatchJobResult(number=0, state=BatchJobState.ERROR, error="why")])
        with pytest.raises(OutputFileError, match="cannot write"):
            Results(folder, form="none", out=out).write(list(folder.results(-1, 10)))

    assert (precious / "error").read_text() == "mine"
    assert [path.name for path in precious.iterdir()] == ["error"]


@pytest.mark.parametrize("what", ["a file", "below a file"])
def test_a_place_for_results_that_is_a_file_is_refused_before_any_job(tmp_path: Path, what: str) -> None:
    place = tmp_path / "out"
    place.write_bytes(b"")

    with pytest.raises(OutputFileError, match="is no directory"):
        prepared_folder(str(place if what == "a file" else place / "deep" / "er"))
    prepared_folder(str(tmp_path / "new" / "and" / "deep"))
    prepared_folder(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user plant a link")
def test_a_link_for_results_that_another_user_planted_is_refused(tmp_path: Path) -> None:
    common, elsewhere = tmp_path / "common", tmp_path / "elsewhere"
    common.mkdir()
    common.chmod(0o1777)
    elsewhere.mkdir()
    (common / "out").symlink_to(elsewhere)
    os.chown(common / "out", NOBODY, NOBODY, follow_symlinks=False)

    for place in (common / "out", f"{common}/out/"):
        with pytest.raises(OutputFileError, match="another user"):
            prepared_folder(str(place))
