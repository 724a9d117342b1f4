"""The receipt of a batch: one altered byte anywhere is refused with exit code 7."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plasm_core.batch.receipt import _receipt_problems
from plasm_core.records import Envelope
from plasm_core.records.batch_receipt import NO_RECEIPT
from plasm_core.records.envelope import Signature, pae
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT, SIGNER, envelope

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")
JOBS = 5


@pytest.fixture(scope="module")
def exported(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of five jobs and its results: job 3 has no receipt. The daemon's key is the client's own."""
    home = tmp_path_factory.mktemp("exported")
    jobs = home / "jobs.jsonl"
    described: list[dict[str, Any]] = [{"args": [f"v{number}"]} for number in range(JOBS)]
    described[3]["gas"] = (1 << 53) - 1  # more than the node allows
    jobs.write_text("".join(json.dumps(item) + "\n" for item in described))
    daemon.plasm(
        *("map", HELLO, "--jobs", str(jobs), "--batch", str(home / "b"), "--out", str(home / "out")),
        *("--limit", "wall=3600s"),
        check=False,
    )
    return home


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    """A copy of the results, to be altered."""
    return Path(shutil.copytree(exported / "out", tmp_path / "out"))


def decided(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    done = daemon.plasm("verify", *arguments, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).decode().split())


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_whole_batch_holds(daemon: Daemon, out: Path) -> None:
    code, said = decided(daemon, str(out / "batch.json"))

    assert code == 0, said
    assert f"batch of {JOBS} jobs, {JOBS - 1} with a receipt: signed by 12D3KooW" in said
    assert f"{receipts(out)} receipts belong to it" in said


def receipts(out: Path) -> int:
    return len(list(out.glob("*/receipt.json")))


def test_one_job_belongs_to_it(daemon: Daemon, out: Path) -> None:
    for other in ("000000", "000001"):
        shutil.rmtree(out / other)

    code, said = decided(daemon, str(out / "batch.json"), "--job", "2")

    assert code == 0, said
    assert "job 2 belongs to it" in said
    assert decided(daemon, str(out / "batch.json"), "--job", str(JOBS))[0] == 7


def test_somebody_without_the_key_decides_nothing(out: Path, tmp_path: Path) -> None:
    with Daemon(tmp_path / "stranger") as stranger:
        (tmp_path / "stranger").mkdir()

        code, said = decided(stranger, str(out / "batch.json"))

    assert code == 8, said
    assert "signed by no key that you trust" in said


def leaf_flipped(value: dict[str, Any]) -> None:
    value["leaves"][1] = f"{int(value['leaves'][1][0], 16) ^ 1:x}" + value["leaves"][1][1:]


def leaf_dropped(value: dict[str, Any]) -> None:
    del value["leaves"][1]


def leaves_exchanged(value: dict[str, Any]) -> None:
    value["leaves"][1], value["leaves"][2] = value["leaves"][2], value["leaves"][1]


def receipt_removed(value: dict[str, Any]) -> None:
    value["leaves"][1] = NO_RECEIPT.hex()


@pytest.mark.parametrize("change", [leaf_flipped, leaf_dropped, leaves_exchanged, receipt_removed])
def test_altered_leaves_are_refused(
    daemon: Daemon, out: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    rewritten(out / "batch.json", change)

    assert decided(daemon, str(out / "batch.json"))[0] == 7


def test_a_forged_root_is_not_signed(daemon: Daemon, out: Path) -> None:
    """Leaves and root can be made to agree, but then no node signed the root."""

    def forge(value: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(value["batch"]["payload"]))
        statement["predicate"]["succeeded"] = "0"
        value["batch"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    rewritten(out / "batch.json", forge)

    assert decided(daemon, str(out / "batch.json"))[0] == 8


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda out: shutil.rmtree(out / "000001"), "job 1: its receipt is missing"),
        (
            lambda out: shutil.copy(out / "000002/receipt.json", out / "000001"),
            "job 1: its receipt is not the one",
        ),
        (
            lambda out: (out / "000001/stdout").write_bytes(b"1w\n"),
            "job 1: its stdout is not what the receipt says",
        ),
        (lambda out: (out / "000001/receipt.json").write_text("{}"), "job 1: not a valid envelope"),
        (lambda out: (out / "batch.json").write_text('{"format":"plasm.batch/v0"}'), "not a valid batch"),
    ],
)
def test_a_changed_file_next_to_the_receipt_is_refused(
    daemon: Daemon, out: Path, alter: Callable[[Path], object], reason: str
) -> None:
    alter(out)

    code, said = decided(daemon, str(out / "batch.json"))

    assert code == 7, said
    assert reason in said


def test_a_proof_needs_nothing_else(daemon: Daemon, exported: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    proof.write_bytes(daemon.plasm("batch", "proof", str(exported / "b"), "4").stdout)

    code, said = decided(daemon, str(proof))

    assert code == 0, said
    assert "job 4 belongs to it" in said
    assert "exited with code 0" in said


def another_job(value: dict[str, Any]) -> None:
    value["job"] = 0


def path_flipped(value: dict[str, Any]) -> None:
    value["inclusion"][0] = "00" * 32


def no_path(value: dict[str, Any]) -> None:
    value["inclusion"] = []


def another_receipt(value: dict[str, Any]) -> None:
    value["receipt"]["payload"] = value["batch"]["payload"]


def no_receipt(value: dict[str, Any]) -> None:
    value["receipt"] = None


@pytest.mark.parametrize("change", [another_job, path_flipped, no_path, another_receipt, no_receipt])
def test_a_forged_proof_is_refused(
    daemon: Daemon, exported: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    proof = tmp_path / "proof.json"
    proof.write_bytes(daemon.plasm("batch", "proof", str(exported / "b"), "4").stdout)
    rewritten(proof, change)

    assert decided(daemon, str(proof))[0] == 7


def test_an_exported_batch_has_no_handles(daemon: Daemon, exported: Path, tmp_path: Path) -> None:
    daemon.plasm("batch", "export", str(exported / "b"), str(tmp_path / "out"))

    names = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "batch.sqlite" not in names
    assert names.count("receipt.json") == receipts(exported / "out")
    assert decided(daemon, str(tmp_path / "out" / "batch.json"))[0] == 0


def test_an_envelope_of_another_kind_is_no_receipt() -> None:
    """Though the same key has signed the same bytes: as something else."""
    payload = envelope().payload
    signature = Signature(
        key_id=envelope().signatures[0].key_id, sig=SIGNER.sign(pae("application/x-other", payload))
    )
    other = Envelope(payload=payload, payload_type="application/x-other", signatures=(signature,))

    problems, _ = _receipt_problems(other.to_json(), "job 0")

    assert problems == ["job 0: its receipt has the payloadType application/x-other"]
    assert _receipt_problems(envelope().to_json(), "job 0")[0] == []
