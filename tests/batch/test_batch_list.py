"""`plasm batch list`: a user finds the batches that were begun here, wherever their folders are."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plasm_core.batch import known
from plasm_core.batch.folder import BatchFolder, is_in_use
from plasm_core.batch.rows import BatchJobResult, BatchJobState, NewJob
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Daemon]:
    """A user with directories of his own; no daemon runs."""
    (tmp_path / "home").mkdir()
    with Daemon(tmp_path / "home") as made:
        yield made


@pytest.fixture
def state(user: Daemon, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of that user, which is this process's, too."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", user.environ["XDG_STATE_HOME"])
    return user.state


def made(path: Path, *ends: BatchJobState) -> Path:
    """Make a batch whose first jobs have ended so, and one that waits."""
    facts = {"planned": len(ends) + 1, "module_name": "m.wasm", "created_at": "2026-11-30T08:00:00+00:00"}
    with BatchFolder.create(path, facts, lambda file: file.close()) as folder:
        folder.add(0, [NewJob(f"job {n}", b"", b"", None, None, None) for n in range(len(ends) + 1)])
        folder.finish([BatchJobResult(number=number, state=end) for number, end in enumerate(ends)])
    return path


def listed(user: Daemon) -> list[dict[str, Any]]:
    return list(json.loads(user.plasm("batch", "list", "--json").stdout)["batches"])


def test_a_batch_is_found_wherever_its_folder_is(user: Daemon, tmp_path: Path) -> None:
    """Interrupted batches are what a user looks for: `plasm map` names the folder once."""
    user.plasm("map", HELLO, "--range", "2", "--", "{}", check=False)  # no daemon answers: both are kept
    user.plasm("map", HELLO, "--range", "3", "--batch", str(tmp_path / "mine"), "--", "{}", check=False)
    user.plasm("map", "--resume", str(tmp_path / "mine"), check=False)

    inside, elsewhere = listed(user)

    assert Path(inside["folder"]).parent == user.state / "batches"
    assert (inside["state"], inside["total"], inside["moduleName"]) == ("interrupted", 2, "hello.wasm")
    assert (elsewhere["folder"], elsewhere["state"], elsewhere["total"]) == (
        str(tmp_path / "mine"),
        "interrupted",
        3,
    )


def test_plasm_jobs_says_where_the_jobs_of_batches_are(user: Daemon) -> None:
    before = user.plasm("jobs")
    made(user.state / "batches" / "one")

    after = user.plasm("jobs")

    assert b"plasm batch list" not in before.stdout + before.stderr
    assert b"a batch has its jobs in a folder of its own: plasm batch list" in after.stderr


def test_the_state_of_each_is_shown(user: Daemon) -> None:
    places = user.state / "batches"
    made(places / "1", BatchJobState.SUCCEEDED, BatchJobState.FAILED)
    (places / "2").mkdir()
    (places / "2" / "batch.sqlite").write_bytes(b"no database at all, and long enough for a header " * 20)
    made(places / "3")
    with BatchFolder.open(places / "3"):
        found = listed(user)
        shown = user.plasm("batch", "list").stdout.decode()

    assert [(item["state"], item["ended"], item["total"], item["unsuccessful"]) for item in found] == [
        ("interrupted", 2, 3, 1),
        ("unusable", 0, 0, 0),
        ("running", 0, 1, 0),
    ]
    assert "2 of 3" in shown
    assert "2026-11-30 08:00:00" in shown


def test_an_empty_folder_lists_nothing(user: Daemon) -> None:
    assert b"you have no batches here" in user.plasm("batch", "list").stdout
    assert listed(user) == []


def test_a_batch_that_was_deleted_is_forgotten(state: Path, tmp_path: Path) -> None:
    known.remember(made(tmp_path / "gone"))
    known.remember(made(tmp_path / "there"))
    shutil.rmtree(tmp_path / "gone")

    assert known.known() == [tmp_path / "there"]
    known.remember(made(tmp_path / "third"))
    assert len(list((state / "batches").iterdir())) == 2


def test_a_batch_whose_place_cannot_be_looked_at_hides_no_other(state: Path, tmp_path: Path) -> None:
    """As on a disk of the network that is away, or in a directory that root has closed: it may come back."""
    known.remember(made(tmp_path / "b"))
    away = state / "batches" / "20261130-080000-000000"
    away.symlink_to("/" + 300 * "x")  # looking at it fails for root, too
    with pytest.raises(OSError, match="name too long"):
        away.stat()

    known.remember(made(tmp_path / "c"))

    assert known.known() == [tmp_path / "b", tmp_path / "c"]
    assert away.is_symlink()


def test_a_batch_is_remembered_once(state: Path, tmp_path: Path) -> None:
    made(tmp_path / "b")
    for _ in range(3):
        known.remember(tmp_path / "b")
    known.remember(known.known()[0])

    assert len(list((state / "batches").iterdir())) == 1


def test_what_is_remembered_is_bounded(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST_LINKS", 3)
    for number in range(5):
        known.remember(made(tmp_path / str(number)))

    assert len(known.known()) == 3


def test_asking_whether_it_is_in_use_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plasm batch list` beside `plasm map --resume`: it has the lock for a moment."""
    made(tmp_path / "b")
    assert not is_in_use(tmp_path / "b")
    with (tmp_path / "b" / "lock").open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _s: fcntl.flock(asking, fcntl.LOCK_UN))

        with BatchFolder.open(tmp_path / "b"):
            assert is_in_use(tmp_path / "b")
