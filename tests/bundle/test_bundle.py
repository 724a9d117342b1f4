"""A bundle has everything that its receipts name, and nothing in it can be changed unseen."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from plasm_core.bundle.archive import read_archive
from plasm_core.bundle.crate import METADATA, PROFILE
from tests.support.cli import FAILURE, HELLO, OK, PLUGIN, REJECTED, UNDECIDED, USAGE, Plasm
from tests.support.daemon import Daemon

pytest.importorskip("rocrate", reason="rocrate is not installed: pip install 'phase-plasm[bundle]'")


@attrs.frozen
class Study:
    """Two jobs, and the bundle of their receipts."""

    where: Path
    peer: str
    plasm: Plasm

    @property
    def file(self) -> Path:
        return self.where / "study.zip"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    where = tmp_path_factory.mktemp("study")
    plasm = Plasm(tmp_path_factory.mktemp("author"))
    (where / "in.txt").write_bytes(b"Hello")
    words = ["some", "words"]
    first = plasm(
        "run", "--receipt", str(where / "1.json"), "--manifest", str(where / "m.json"), HELLO, *words
    )
    second = plasm("run", "--receipt", str(where / "2.json"), "--stdin", str(where / "in.txt"), HELLO)
    (where / "1.txt").write_bytes(first.out)
    (where / "2.txt").write_bytes(second.out)
    names = ["1.json", "2.json", "1.txt", "2.txt", "in.txt", "m.json"]
    files = [str(where / name) for name in names]
    done = plasm("bundle", *files, HELLO, "--arg", "some", "--arg", "words", "-o", str(where / "study.zip"))
    assert done.code == OK, done.err
    peer = json.loads(plasm("key", "show", "--json").out)["peerId"]
    return Study(where, peer, plasm)


@pytest.fixture
def reader(tmp_path: Path) -> Plasm:
    """Somebody else's machine."""
    return Plasm(tmp_path / "reader")


def test_another_machine_verifies_and_runs_everything_again_in_one_command(
    study: Study, reader: Plasm
) -> None:
    done = reader("verify", str(study.file), "--key", study.peer, "--reexecute", "--json")

    found = json.loads(done.out)
    assert (done.code, found["decision"]) == (OK, "accept")
    assert len(found["tasks"]) == 2
    for task in found["tasks"]:
        assert {"signature", "re-execution", "module", "args", "stdin", "stdout"} <= set(task["established"])
        assert (task["outcome"]["kind"], task["outcome"]["code"]) == ("exited", 0)


def test_a_quiet_command_says_nothing_of_what_holds_and_why_something_does_not(
    study: Study, reader: Plasm
) -> None:
    good = reader("verify", "-q", str(study.file), "--key", study.peer)
    bad = reader("verify", "-q", str(study.file))

    assert (good.code, good.out, good.err) == (OK, b"", "")
    assert (bad.code, b"a key that is not trusted here" in bad.out) == (UNDECIDED, True)


def test_a_bundle_cannot_say_whom_to_trust(study: Study, reader: Plasm) -> None:
    done = reader("verify", str(study.file))

    assert done.code == UNDECIDED
    assert f"--key {study.peer}" in done.out.decode()


def test_more_can_be_required_of_a_bundle(study: Study, reader: Plasm) -> None:
    done = reader("verify", str(study.file), "--key", study.peer, "--require", "quorum")

    assert done.code in (UNDECIDED, REJECTED)


def test_options_about_files_have_no_effect_on_a_bundle(study: Study, reader: Plasm) -> None:
    assert reader("verify", str(study.file), "--stdout", HELLO).code == USAGE


def changed(study: Study, target: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> str:
    """Copy the bundle, with each file as `change` gives it."""
    with zipfile.ZipFile(study.file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            for other, data in change(name, old.read(name)):
                new.writestr(other, data)
    return str(target)


def is_output(data: bytes) -> bool:
    return data == b"olleH"


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: [(name, b"other" if is_output(data) else data)],
        lambda name, data: [] if is_output(data) else [(name, data)],
        lambda name, data: [] if name.startswith("receipts/") else [(name, data)],
        lambda name, data: (
            [(name, data.replace(b"payload", b"payloaf"))] if name.startswith("receipts/") else [(name, data)]
        ),
        lambda name, data: [(name, b"{}" if name.startswith("receipts/0001") else data)],
    ],
    ids=["an output is changed", "an output is missing", "no receipts", "a field is renamed", "no receipt"],
)
def test_a_bundle_that_was_changed_is_rejected(
    study: Study, reader: Plasm, tmp_path: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]
) -> None:
    file = changed(study, tmp_path / "changed.zip", change)

    done = reader("verify", file, "--key", study.peer)

    assert done.code == REJECTED, done.out + done.err.encode()


def test_a_file_that_no_receipt_covers_is_named(study: Study, reader: Plasm, tmp_path: Path) -> None:
    file = changed(
        study,
        tmp_path / "more.zip",
        lambda name, data: [(name, data), ("results.csv", b"1")] if name == METADATA else [(name, data)],
    )

    done = reader("verify", file, "--key", study.peer)

    assert done.code == OK
    assert "no receipt covers results.csv" in done.out.decode()


@pytest.mark.parametrize("data", [b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + bytes(17) + b"\x01"])
def test_a_file_that_is_no_bundle_is_refused(reader: Plasm, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)

    assert reader("verify", str(tmp_path / "x.zip")).code in (REJECTED, FAILURE)


def test_a_file_that_unpacks_to_more_than_it_may_is_refused(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plasm_core.bundle.archive.MAX_FILE_BYTES", 4)
    from plasm_core.errors import BundleError

    with pytest.raises(BundleError, match="more than 4 bytes"):
        read_archive(study.file)


def test_a_missing_file_is_named_with_its_digest(study: Study, reader: Plasm, tmp_path: Path) -> None:
    """On another machine: that of the author finds the input by itself."""
    done = reader("bundle", str(study.where / "2.json"), HELLO, "-o", str(tmp_path / "x.zip"))

    assert done.code == FAILURE
    assert "missing: the stdin of" in done.err
    assert "the stdout of" in done.err
    assert not (tmp_path / "x.zip").exists()


def test_a_file_that_no_receipt_names_is_refused(study: Study, tmp_path: Path) -> None:
    files = [str(study.where / name) for name in ("2.json", "2.txt", "in.txt", "1.txt")]

    done = study.plasm("bundle", *files, HELLO, "-o", str(tmp_path / "x.zip"))

    assert done.code == FAILURE
    assert "no receipt names" in done.err
    assert "1.txt" in done.err


def test_the_metadata_are_a_process_run_crate(study: Study) -> None:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(study.file)

    assert crate.root_dataset["conformsTo"].id == PROFILE
    actions = crate.get_by_type("CreateAction")
    assert len(actions) == 2
    for action in actions:
        assert "SoftwareApplication" in action["instrument"].type
        assert action["result"]
        assert action["object"]
        assert action["agent"]
    with zipfile.ZipFile(study.file) as archive:
        names = set(archive.namelist())
    assert {part.id for part in crate.root_dataset["hasPart"]} <= names


def test_the_result_of_a_handle_is_fetched(tmp_path: Path, reader: Plasm) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc")
    with Daemon(tmp_path / "daemon") as daemon:
        daemon.home.mkdir()
        daemon.start()
        handle = daemon.plasm("submit", "--stdin", str(tmp_path / "in.txt"), HELLO).stdout
        (tmp_path / "handle").write_bytes(handle)
        files = [f"@{tmp_path / 'handle'}", HELLO, str(tmp_path / "in.txt")]
        daemon.plasm("bundle", *files, "-o", str(tmp_path / "h.zip"))
    peer = handle.decode().strip().rpartition("-")[2]

    done = reader("verify", str(tmp_path / "h.zip"), "--reexecute")

    assert done.code == UNDECIDED  # nobody said whom to trust
    assert peer[:8] in done.out.decode() or "12D3KooW" in done.out.decode()


def test_without_the_library_the_command_says_what_to_install(study: Study, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['rocrate'] = sys.modules['rocrate.rocrate'] = None\n"
        "from plasm_core.cli import main; main(sys.argv[1:])"
    )
    files = [str(study.where / name) for name in ("2.json", "2.txt", "in.txt")]

    done = subprocess.run(
        [sys.executable, "-c", code, "bundle", *files, HELLO, "-o", str(tmp_path / "x.zip")],
        env=study.plasm.environment(),
        capture_output=True,
        timeout=60,
    )

    assert done.returncode == PLUGIN
    assert "pip install 'phase-plasm[bundle]'" in done.stderr.decode()


def test_a_receipt_alone_makes_a_bundle_where_its_job_was_run(tmp_path: Path) -> None:
    plasm = Plasm(tmp_path / "author")
    (tmp_path / "in.txt").write_bytes(b"Hello")
    run = ("run", "--receipt", str(tmp_path / "r.json"), "--stdin", str(tmp_path / "in.txt"))
    done = plasm(*run, "--env", "A=1", HELLO, "one", "two")
    (tmp_path / "out.txt").write_bytes(done.out)
    bundle = tmp_path / "study.zip"

    made = plasm("bundle", str(tmp_path / "r.json"), str(tmp_path / "out.txt"), "-o", str(bundle))

    assert made.code == OK, made.err
    assert plasm("verify", str(bundle), "--reexecute").code == OK
    names = tmp_path / "author" / "state" / "plasm" / "jobs" / "files.jsonl"
    assert names.stat().st_mode & 0o777 == 0o600


def test_a_file_that_has_changed_since_is_missing_and_not_taken(tmp_path: Path) -> None:
    plasm = Plasm(tmp_path / "author")
    (tmp_path / "in.txt").write_bytes(b"Hello")
    run = ("run", "--receipt", str(tmp_path / "r.json"), "--stdin", str(tmp_path / "in.txt"))
    (tmp_path / "out.txt").write_bytes(plasm(*run, HELLO).out)
    (tmp_path / "in.txt").write_bytes(b"Hullo")

    made = plasm(
        *("bundle", str(tmp_path / "r.json"), str(tmp_path / "out.txt"), "-o", str(tmp_path / "study.zip"))
    )

    assert made.code == FAILURE
    assert "missing: the stdin of " in made.err
    assert not (tmp_path / "study.zip").exists()


def test_a_handle_alone_or_a_receipt_alone_makes_a_bundle_where_it_was_submitted(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        (tmp_path / "in.txt").write_bytes(b"Hello")
        handle = (
            daemon.plasm("submit", str(HELLO), "--stdin", str(tmp_path / "in.txt")).stdout.decode().strip()
        )
        daemon.plasm("result", handle, "--receipt", str(tmp_path / "r.json"))

        by_handle = daemon.plasm("bundle", handle, "-o", str(tmp_path / "1.zip"))
        by_receipt = daemon.plasm("bundle", str(tmp_path / "r.json"), "-o", str(tmp_path / "2.zip"))
        checked = [
            daemon.plasm("verify", str(tmp_path / f"{n}.zip"), "--reexecute", "--json") for n in (1, 2)
        ]

    assert by_handle.stdout == by_receipt.stdout.replace(b"2.zip", b"1.zip")
    assert [json.loads(done.stdout)["decision"] for done in checked] == ["accept"] * 2
