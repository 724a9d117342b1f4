"""`plasm verify --fraud` names who lied on a machine that knows none of the parties; `plasm deny` remembers it."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.records import Envelope, Receipt, sha256
from plasm_core.records.fraud_proof import FRAUD_PROOF_FORMAT
from plasm_core.signing import sign_receipt
from plasm_core.testing.bench import MODULES
from plasm_core.testing.claims import SeedSigner
from tests.support.cli import HELLO, JOB_FAILED, OK, REJECTED, UNDECIDED, USAGE, Done, Plasm
from tests.support.wat import FOREVER, starting

Here = Callable[..., Done]
HONEST, LIAR, OTHER = (SeedSigner(bytes([number]) * 32) for number in (11, 12, 13))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Receipt:
    """The receipt of a job that ran here, as any honest node would sign it under its own key."""
    plasm = Plasm(tmp_path_factory.mktemp("truth"))
    file = plasm.home / "true.json"
    assert plasm("run", HELLO, "words", "--receipt", str(file)).code == OK
    return Receipt.from_statement(Envelope.from_json(file.read_bytes()).payload)


@pytest.fixture
def plasm(tmp_path: Path) -> Plasm:
    """A machine that knows nobody."""
    return Plasm(tmp_path)


def signed(truth: Receipt, by: SeedSigner, **changes: Any) -> Envelope:
    result = attrs.evolve(truth.result, **changes)
    return sign_receipt(attrs.evolve(truth, node=by.peer_id, result=result), by)


def lie(truth: Receipt, by: SeedSigner = LIAR) -> Envelope:
    return signed(truth, by, gas_used=truth.result.gas_used + 1)


def written(path: Path, *envelopes: Envelope, module: bool = True) -> str:
    """Write a proof as somebody else would, without our code."""
    inputs = {"args": base64.b64encode(b"\5\0\0\0\0\0\0\0words").decode()}
    if module:
        inputs["module"] = base64.b64encode(Path(HELLO).read_bytes()).decode()
    receipts = [json.loads(envelope.to_json()) for envelope in envelopes]
    path.write_text(json.dumps({"format": FRAUD_PROOF_FORMAT, "receipts": receipts, "inputs": inputs}))
    return str(path)


def convicted(done: Done) -> list[str]:
    return [item["node"] for item in json.loads(done.out)["convicted"]]


def test_the_liar_is_named_and_the_honest_node_is_cleared(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    proof = written(tmp_path / "p.json", signed(truth, HONEST), lie(truth))
    done = plasm("verify", "--fraud", proof, "--json")

    assert done.code == OK, done.err
    found = json.loads(done.out)
    assert found["decision"] == "proven"
    assert convicted(done) == [str(LIAR.peer_id)]
    assert found["cleared"] == [str(HONEST.peer_id)]
    assert found["taskDigest"] == truth.asked.task_digest


def test_a_person_reads_who_lied(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    done = plasm("verify", "--fraud", written(tmp_path / "p.json", lie(truth)))

    assert done.code == OK
    assert f"{LIAR.peer_id} signed a false receipt" in done.out.decode().replace("\n", " ").replace("  ", " ")


def test_a_proof_against_honest_nodes_is_refused(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    proof = written(tmp_path / "p.json", signed(truth, HONEST), signed(truth, OTHER))
    done = plasm("verify", "--fraud", proof, "--json")

    assert done.code == REJECTED
    assert json.loads(done.out)["code"] == "no-difference"
    assert convicted(done) == []


def test_a_receipt_that_the_accuser_forged_is_refused(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    """The accuser signs a false receipt in the honest node's name, with a key of its own."""
    forged = sign_receipt(
        attrs.evolve(truth, node=HONEST.peer_id, result=attrs.evolve(truth.result, gas_used=9_999)), LIAR
    )
    done = plasm("verify", "--fraud", written(tmp_path / "p.json", signed(truth, OTHER), forged), "--json")

    assert done.code == REJECTED
    assert json.loads(done.out)["code"] == "forged-signature"


def test_without_the_module_it_is_undecided_and_the_option_gives_it(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    proof = written(tmp_path / "p.json", signed(truth, HONEST), lie(truth), module=False)
    alone = plasm("verify", "--fraud", proof)

    assert alone.code == UNDECIDED
    assert "--module" in alone.out.decode() + alone.err
    given = plasm("verify", "--fraud", proof, "--module", HELLO, "--json")
    assert given.code == OK
    assert convicted(given) == [str(LIAR.peer_id)]


def test_another_module_than_the_tasks_convicts_nobody(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    (tmp_path / "m.wasm").write_bytes(b"\0asm\x01\0\0\0")
    proof = written(tmp_path / "p.json", signed(truth, HONEST), lie(truth), module=False)
    done = plasm("verify", "--fraud", proof, "--module", str(tmp_path / "m.wasm"), "--json")

    assert done.code == REJECTED
    assert json.loads(done.out)["code"] == "wrong-input"


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10_000, b"PK\x03\x04" + b"\0" * 100, b"\xff" * 100])
def test_hostile_files_are_refused(plasm: Plasm, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.json").write_bytes(data)
    done = plasm("verify", "--fraud", str(tmp_path / "p.json"), "--json")

    assert done.code == REJECTED
    assert json.loads(done.out)["code"] == "malformed-proof"


def test_a_huge_file_is_not_read(plasm: Plasm, tmp_path: Path) -> None:
    with (tmp_path / "p.json").open("wb") as file:
        file.truncate(1 << 40)
    done = plasm("verify", "--fraud", str(tmp_path / "p.json"))

    assert done.code != OK
    assert "more than" in done.err


def test_options_about_receipts_are_refused_and_a_proof_without_the_flag_is_named(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    proof = written(tmp_path / "p.json", lie(truth))

    assert plasm("verify", "--fraud", proof, "--manifest", HELLO).code == USAGE
    bare = plasm("verify", proof)
    assert bare.code == USAGE
    assert "--fraud" in bare.err


def test_a_rejected_receipt_leaves_a_proof_that_convinces_another_machine(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    file = tmp_path / "lie.json"
    file.write_bytes(lie(truth).to_json())
    asked = ("--reexecute", "--module", HELLO, "--arg", "words", "--key", str(LIAR.peer_id))
    done = plasm("verify", str(file), *asked, "--json")

    assert done.code == REJECTED
    proof = json.loads(done.out)["fraudProof"]
    elsewhere = Plasm(tmp_path / "elsewhere")
    assert convicted(elsewhere("verify", "--fraud", proof, "--json")) == [str(LIAR.peer_id)]


def test_receipts_that_differ_leave_a_proof_that_needs_the_module(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    files = []
    for name, envelope in (("a", signed(truth, HONEST)), ("b", signed(truth, OTHER)), ("c", lie(truth))):
        (tmp_path / name).write_bytes(envelope.to_json())
        files.append(str(tmp_path / name))
    keys = [word for node in (HONEST, OTHER, LIAR) for word in ("--key", str(node.peer_id))]
    done = plasm("verify", *files, *keys, "--verifier", "signature,quorum", "--json")

    assert done.code == REJECTED
    proof = json.loads(done.out)["fraudProof"]
    assert plasm("verify", "--fraud", proof).code == UNDECIDED
    given = plasm("verify", "--fraud", proof, "--module", HELLO, "--arg", "words", "--json")
    assert convicted(given) == [str(LIAR.peer_id)]


def test_a_receipt_rejected_for_its_signature_leaves_no_proof(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    file = tmp_path / "forged.json"
    file.write_bytes(sign_receipt(attrs.evolve(truth, node=HONEST.peer_id), LIAR).to_json())
    done = plasm("verify", str(file), "--json")

    assert done.code == REJECTED
    assert json.loads(done.out)["fraudProof"] is None


def test_a_task_that_takes_longer_than_it_may_is_undecided(plasm: Plasm, tmp_path: Path) -> None:
    """A proof must not keep its reader busy for as long as a stranger likes."""
    module = starting(FOREVER)
    (tmp_path / "m.wasm").write_bytes(module)
    ran = plasm("run", str(tmp_path / "m.wasm"), "--receipt", str(tmp_path / "r.json"), "--limit", "gas=1e6")
    assert ran.code == JOB_FAILED, ran.err
    true = Receipt.from_statement(Envelope.from_json((tmp_path / "r.json").read_bytes()).payload)
    huge = attrs.evolve(true.asked, limits=attrs.evolve(true.asked.limits, gas=10**15))
    huge = attrs.evolve(huge, task_digest=huge.computed_task_digest())
    false = attrs.evolve(true, asked=huge, result=attrs.evolve(true.result, gas_used=10**15))
    envelope = sign_receipt(attrs.evolve(false, node=LIAR.peer_id), LIAR)
    receipts = [json.loads(envelope.to_json())]
    inputs = {"module": base64.b64encode(module).decode()}
    (tmp_path / "p.json").write_text(
        json.dumps({"format": FRAUD_PROOF_FORMAT, "receipts": receipts, "inputs": inputs})
    )
    short = ("--set", "verifier.reexecute.wall_time_s=1")
    done = plasm("verify", "--fraud", str(tmp_path / "p.json"), *short, "--json")

    assert done.code == UNDECIDED
    assert convicted(done) == []


def test_a_job_with_files_is_judged_with_its_files(plasm: Plasm, tmp_path: Path) -> None:
    """A proof has none: what is missing is named with its options."""
    module, receipt = str(MODULES / "files.wasm"), tmp_path / "r.json"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").write_bytes(b"some data\n")
    files = ("--dir", f"{tmp_path / 'in'}:in", "--out", f"out/:{tmp_path / 'results'}")
    ran = plasm("run", module, "--receipt", str(receipt), *files)
    assert ran.code == OK, ran.err
    true = Receipt.from_statement(Envelope.from_json(receipt.read_bytes()).payload)
    assert true.asked.files is not None
    inputs = {"module": base64.b64encode(Path(module).read_bytes()).decode()}
    receipts = [json.loads(item.to_json()) for item in (signed(true, HONEST), lie(true))]
    (tmp_path / "p.json").write_text(
        json.dumps({"format": FRAUD_PROOF_FORMAT, "receipts": receipts, "inputs": inputs})
    )
    alone = plasm("verify", "--fraud", str(tmp_path / "p.json"))
    whole = plasm("verify", "--fraud", str(tmp_path / "p.json"), *files, "--json")

    assert alone.code == UNDECIDED
    assert "--dir" in alone.out.decode()
    assert whole.code == OK, whole.err
    assert convicted(whole) == [str(LIAR.peer_id)]


def test_a_proof_denies_the_liar_once_and_for_all_clients(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    proof = written(tmp_path / "p.json", signed(truth, HONEST), lie(truth))
    first = plasm("deny", "--proof", proof, "--json")
    again = plasm("deny", "--proof", proof, "--json")

    assert first.code == again.code == OK, first.err
    assert json.loads(first.out)["added"] == [str(LIAR.peer_id)]
    assert json.loads(again.out)["added"] == []
    drop_in = plasm.home / "config" / "plasm" / "plasm.d" / "convicted.toml"
    assert json.loads(first.out)["file"] == str(drop_in)
    assert drop_in.read_text().count(str(LIAR.peer_id)) == 1
    assert str(HONEST.peer_id) not in drop_in.read_text()
    with sqlite3.connect(plasm.home / "state/plasm/reputation/reputation.db") as store:
        rows = store.execute("SELECT peer, proof FROM nodes WHERE convicted_at IS NOT NULL").fetchall()
    assert [row[0] for row in rows] == [LIAR.peer_id.public_key]
    assert Path(rows[0][1]).is_file()


def test_an_old_proof_that_is_replayed_changes_nothing(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    """Its receipts in another order, some twice, and under another name: it is the same proof of the same lie."""
    lied, honest = lie(truth), signed(truth, HONEST)
    assert plasm("deny", "--proof", written(tmp_path / "p.json", honest, lied)).code == OK
    before = json.loads(plasm("reputation", "show", "--json").out)["nodes"]
    again = written(tmp_path / "again.json", lied, lied, honest)
    replayed = plasm("deny", "--proof", again, "--json")
    verified = plasm("verify", "--fraud", again, "--json")
    after = json.loads(plasm("reputation", "show", "--json").out)["nodes"]

    assert (replayed.code, verified.code) == (OK, OK), replayed.err
    assert json.loads(replayed.out)["added"] == []
    assert convicted(verified) == [str(LIAR.peer_id)]
    kept = ("peerId", "failed", "checked", "convictedAt", "proof")
    assert [[node[name] for name in kept] for node in after] == [
        [node[name] for name in kept] for node in before
    ]
    assert len(list((plasm.home / "state/plasm/fraud-proofs").iterdir())) == 1


def test_an_old_proof_says_nothing_of_another_task_or_key(
    plasm: Plasm, truth: Receipt, tmp_path: Path
) -> None:
    """A false proof with another task or another node's key has no valid signature."""
    task = attrs.evolve(truth.asked, args=sha256(b"other words"))
    moved = attrs.evolve(
        lie(truth), payload=attrs.evolve(truth, asked=task, node=LIAR.peer_id).to_statement()
    )
    framed = attrs.evolve(
        lie(truth),
        payload=attrs.evolve(
            truth,
            node=OTHER.peer_id,
            result=attrs.evolve(truth.result, gas_used=truth.result.gas_used + 1),
        ).to_statement(),
    )

    for forged in (moved, framed):
        done = plasm("deny", "--proof", written(tmp_path / "p.json", signed(truth, HONEST), forged))
        assert done.code == REJECTED, done.err
    assert not (plasm.home / "config" / "plasm" / "plasm.d").exists()


def test_a_proof_that_proves_nothing_denies_nobody(plasm: Plasm, truth: Receipt, tmp_path: Path) -> None:
    proof = written(tmp_path / "p.json", signed(truth, HONEST), signed(truth, OTHER))

    assert plasm("deny", "--proof", proof).code == REJECTED
    assert not (plasm.home / "config" / "plasm" / "plasm.d").exists()
    assert not (plasm.home / "state" / "plasm" / "reputation").exists()
