"""Hold what somebody is told whose job was refused a change of its files, or reached a limit on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core.batch.rows import BatchJobState, JobRow
from plasm_core.cli.batch_hints import batch_hints
from plasm_core.cli.file_hint import file_hint
from plasm_core.records import Outcome, Receipt
from plasm_core.records.files import AskedFileLimits, AskedFiles, Product
from tests.support.cli import FAILURE, JOB_FAILED, OK, REJECTED, UNDECIDED, USAGE, Done
from tests.support.receipts import envelope, receipt
from tests.support.wat import writing

FAILED = Outcome(kind="exited", code=1)
DONE = Outcome(kind="exited", code=0)
READ_ONLY = b"OSError: [Errno 69] Read-only file system: '/in/new'"
FULL = b"write error: No space left on device\n"


def ended(
    outcome: Outcome = FAILED,
    *,
    read_only: tuple[str, ...] = ("in",),
    outputs: tuple[str, ...] = (),
    left: tuple[Product, ...] = (),
    **limits: int,
) -> Receipt:
    """Return the receipt of a job with files."""
    given = receipt()
    most = {"data_bytes": 256 << 20, "entries": 65_536, "descriptors": 1_024} | limits
    files = AskedFiles(tree="0" * 64, read_only=read_only, outputs=outputs, limits=AskedFileLimits(**most))
    return attrs.evolve(
        given,
        asked=attrs.evolve(given.asked, profile="plasm.det/v2", files=files),
        result=attrs.evolve(given.result, outcome=outcome),
        files=left,
    )


IN_RW = "in is read-only for the job: --dir HOST:in:rw lets it change its copy"


@pytest.mark.parametrize(
    ("given", "output", "hint"),
    [
        (ended(), READ_ONLY, IN_RW),
        (ended(), b"cannot open: EROFS, read-only file system", IN_RW),
        (ended(read_only=("data", "in")), READ_ONLY, IN_RW),
        (
            ended(read_only=("data", "in")),
            b"Read-only file system",
            "data, in are read-only for the job: --dir HOST:data:rw lets it change its copy",
        ),
        (
            ended(read_only=(".",)),
            READ_ONLY,
            "its whole tree is read-only for the job: --dir HOST:.:rw lets it change its copy",
        ),
        (ended(DONE, outputs=("in/new",)), b"", IN_RW),
        (ended(DONE, outputs=("out",)), READ_ONLY, IN_RW),
        (ended(DONE), READ_ONLY, None),
        (ended(read_only=()), READ_ONLY, None),
        (ended(outputs=("in-new",)), b"", None),
        (ended(), b"KeyError: 'read'", None),
        (ended(Outcome(kind="out_of_gas")), READ_ONLY, None),
        (ended(Outcome(kind="timed_out", detail="after 1 s"), outputs=("in/new",)), b"", None),
        (ended(), FULL, "--file-limit bytes=512MiB (it was 256MiB)"),
        (
            ended(data_bytes=0, entries=10),
            FULL,
            "--file-limit bytes=1MiB (it was 0B) or --file-limit entries=20 (it was 10)",
        ),
        (ended(data_bytes=1 << 32), FULL, None),
        (
            ended(),
            b"error opening x: No file descriptors available",
            "--file-limit descriptors=2048 (it was 1024)",
        ),
        (receipt(), READ_ONLY, None),
    ],
)
def test_the_hint_names_the_option_that_allows_what_was_refused(
    given: Receipt, output: bytes, hint: str | None
) -> None:
    assert file_hint(given, output) == hint


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with input for the job, which is the current one."""
    directory = tmp_path / "place"
    (directory / "in").mkdir(parents=True)
    (directory / "in" / "data").write_bytes(b"data")
    (directory / "says.wasm").write_bytes(
        writing(b"open /in/new: Read-only file system\n", stream=2, then="unreachable")
    )
    monkeypatch.chdir(directory)
    return directory


def test_a_run_is_followed_by_the_hint(here: Callable[..., Done], place: Path) -> None:
    """What the job says of its files comes before the guess that it lacked memory."""
    done = here("run", "says.wasm", "--dir", "in:in", "--limit", "memory=64KiB")

    assert done.code == JOB_FAILED
    assert "if it lacked memory" not in done.err
    assert f"hint: {IN_RW}" in done.err.splitlines()


@pytest.mark.parametrize(
    ("limit", "code", "words"),
    [
        ("bytes=5GiB", USAGE, "--file-limit bytes: expected 0 to 4GiB"),
        ("entries=1e6", USAGE, "--file-limit entries: expected 0 to 65536"),
        ("descriptors=3", USAGE, "--file-limit descriptors: expected 4 to 4096"),
        ("entries=2", FAILURE, "--file-limit entries=3 is the least"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_its_bounds(
    here: Callable[..., Done], place: Path, limit: str, code: int, words: str
) -> None:
    done = here("run", "says.wasm", "--dir", "in:in", "--file-limit", limit)

    assert (done.code, words in " ".join(done.err.split())) == (code, True)


def test_verification_says_which_files_it_needs(here: Callable[..., Done], place: Path) -> None:
    from plasm_core.testing.bench import MODULES

    files = str(MODULES / "files.wasm")
    here("run", files, "--dir", "in:in", "--out", "out/:results", "--receipt", "r.json")
    given = ("verify", "r.json", "--module", files)

    lacking = here(*given, "--reexecute")
    wrong = here(*given, "--dir", "in:in")
    needless = here("run", "says.wasm", "--receipt", "s.json") and here("verify", "s.json", "--dir", "in:in")

    wanted = (
        "hint: give the --file, --dir, --tree and --out that the job was given; "
        "the receipt states --dir HOST:in --out out/"
    )
    assert (lacking.code, lacking.err.splitlines()) == (UNDECIDED, [wanted])
    assert (wrong.code, wrong.err.splitlines()) == (REJECTED, [wanted])
    assert (needless.code, "the job had no files: leave out --file" in needless.err) == (REJECTED, True)
    assert here(*given).code == OK


def test_a_batch_of_many_failed_jobs_is_not_read_to_its_end_for_hints() -> None:
    """A receipt takes some 0.1 ms to read, and `plasm batch status` may be called every second."""
    read = 0

    def rows() -> Iterator[JobRow]:
        nonlocal read
        for read in range(1, 3_000):
            yield JobRow(
                number=read,
                label="",
                args=b"",
                env=b"",
                stdin=None,
                stdin_file=None,
                terms=None,
                state=BatchJobState.FAILED,
                manifest=None,
                secret=None,
                peer=None,
                outcome=None,
                gas_used=None,
                envelope=signed,
                stdout=b"",
                stderr=b"wrong",
                error=None,
                error_kind=None,
                duration_ms=None,
            )

    signed = envelope(ended()).to_json()

    assert batch_hints(rows()) == []
    assert read < 1_100
