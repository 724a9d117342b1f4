"""`plasm reputation` shows, forgets and exports; `plasm jobs --doubtful` lists what may be wrong, and re-checks it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from plasm_core.client import Submission, kept_inputs
from plasm_core.client.reputation_store import AcceptedResult, Lesson, ReputationStore
from plasm_core.signing import sign_receipt
from plasm_core.testing.claims import SeedSigner, receipt
from tests.support.cli import HELLO, OK, REJECTED, UNDECIDED, USAGE, Plasm

LIAR, OTHER = (SeedSigner(bytes([number]) * 32) for number in (11, 12))
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def plasm(tmp_path: Path) -> Plasm:
    return Plasm(tmp_path)


def state(plasm: Plasm) -> Path:
    return Path(plasm.environment()["XDG_STATE_HOME"]) / "plasm"


def store(plasm: Plasm) -> ReputationStore:
    return ReputationStore(state(plasm) / "reputation" / "reputation.db")


def accepted(plasm: Plasm, *, stdout: bytes, keep: bool = True) -> str:
    """Note a result that was accepted from the liar. Return its job id."""
    job = Submission.of(Path(HELLO).read_bytes())
    signed = sign_receipt(receipt(of=job.manifest, node=LIAR.peer_id, stdout=stdout), LIAR)
    job_id = job.handle(LIAR.peer_id).job_id
    with store(plasm) as opened:
        opened.learn(
            [Lesson(peer=LIAR.peer_id, accepted=1)],
            [
                AcceptedResult(
                    peer=LIAR.peer_id,
                    job_id=job_id,
                    received_at=NOW,
                    state="unchecked",
                    due_at=None,
                    manifest_json=job.manifest_json,
                    envelope_json=signed.to_json(),
                )
            ],
        )
    if keep:
        kept_inputs.keep(job, directory=state(plasm) / "reputation" / "inputs")
    return job_id


def convict(plasm: Plasm) -> None:
    with store(plasm) as opened:
        opened.convict(LIAR.peer_id, Path("/proofs/one.json"))


def nodes(plasm: Plasm, *more: str) -> list[dict[str, object]]:
    found = json.loads(plasm("reputation", "show", "--json", *more).out)["nodes"]
    assert isinstance(found, list)
    return found


def test_what_is_known_is_shown_exported_and_forgotten(plasm: Plasm) -> None:
    assert b"nothing is known" in plasm("reputation", "show").out
    with store(plasm) as opened:
        opened.learn([Lesson(peer=OTHER.peer_id, accepted=20, checked=3, network="n")])
    convict(plasm)
    shown = plasm("reputation", "show").out.decode()
    exported = [json.loads(line) for line in plasm("reputation", "export").out.splitlines()]

    assert [item["peerId"] for item in nodes(plasm)] == [str(LIAR.peer_id), str(OTHER.peer_id)]
    assert exported == nodes(plasm)
    assert (exported[1]["checked"], exported[1]["accepted"]) == (3, 20)
    assert exported[0]["proof"] == "/proofs/one.json"
    assert "convicted" in shown
    assert "(no longer kept)" in " ".join(shown.split())
    assert [item["checked"] for item in nodes(plasm, str(OTHER.peer_id))] == [3]
    assert plasm("reputation", "forget", "--all").code == OK
    assert [item["peerId"] for item in nodes(plasm)] == [str(LIAR.peer_id)]
    assert plasm("reputation", "forget", str(LIAR.peer_id)).code == OK
    assert nodes(plasm) == []


@pytest.mark.parametrize("wrong", [("forget",), ("forget", "--all", str(LIAR.peer_id)), ("show", "nobody")])
def test_wrong_usage_is_reported_as_wrong_usage(plasm: Plasm, wrong: tuple[str, ...]) -> None:
    assert plasm("reputation", *wrong).code == USAGE


def test_doubtful_results_are_listed_and_rechecked_by_one_command(plasm: Plasm) -> None:
    wrong = accepted(plasm, stdout=b"wrong")
    right = accepted(plasm, stdout=b"dlroW ,olleH\n")
    gone = accepted(plasm, stdout=b"gone", keep=False)
    inputs = state(plasm) / "reputation" / "inputs"
    assert b"no result is doubtful" in plasm("jobs", "--doubtful").out
    convict(plasm)
    listed = json.loads(plasm("jobs", "--doubtful", "--json").out)["jobs"]
    checked = plasm("jobs", "--doubtful", "--recheck", "--json")
    after = json.loads(plasm("jobs", "--doubtful", "--json").out)["jobs"]

    assert {item["jobId"] for item in listed} == {wrong, right, gone}
    told = {item["jobId"]: item["isRight"] for item in json.loads(checked.out)["jobs"]}
    assert (told[wrong], told[right]) == (False, True)
    assert checked.code == REJECTED
    assert {(item["jobId"], item["result"]) for item in after} >= {(wrong, "wrong")}
    assert right not in {item["jobId"] for item in after}
    assert inputs.stat().st_mode & 0o777 == 0o700


def test_a_result_without_its_input_cannot_be_rechecked_and_says_so(plasm: Plasm) -> None:
    accepted(plasm, stdout=b"gone", keep=False)
    convict(plasm)
    done = plasm("jobs", "--doubtful", "--recheck", "--json")

    assert done.code == UNDECIDED
    assert b"not kept here any more" in done.out


def test_a_recheck_convicts_a_node_by_its_own_receipt(plasm: Plasm) -> None:
    """The first conviction may rest on a proof that is lost; the re-check makes another."""
    accepted(plasm, stdout=b"wrong")
    convict(plasm)
    plasm("jobs", "--doubtful", "--recheck")
    proofs = list((state(plasm) / "fraud-proofs").glob("*.json"))

    assert len(proofs) == 1
    verified = plasm("verify", "--fraud", str(proofs[0]), "--json")
    assert verified.code == OK
    assert str(LIAR.peer_id) in verified.out.decode()
