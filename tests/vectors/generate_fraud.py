"""Compute fraud.json from docs/fraud-proofs.md, with nothing of Plasm's own code.

`python -m tests.vectors.generate_fraud` writes the file again.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors.generate import (
    PAYLOAD_TYPE,
    PLAIN_TASK,
    SEED,
    compact,
    encode_list,
    key_id,
    pae,
    peer_id,
    public_key,
    sha256,
)
from tests.vectors.generate_consistency import result, statement

Json = dict[str, Any]

FILE = Path(__file__).with_name("fraud.json")
FORMAT = "plasm.fraud-proof/v0"
SEEDS = [SEED, *(bytes([number]) * 32 for number in range(1, 70))]
MODULE, ARGS, STDIN = b"\0asm\x01\0\0\0", encode_list([b"some", b"words"]), b"input\n"
TASK: Json = {**PLAIN_TASK, "module": sha256(MODULE), "args": sha256(ARGS), "stdin": sha256(STDIN)}
OTHER_TASK: Json = {**TASK, "stdin": sha256(b"another input\n")}
CLOCK: Json = {**TASK, "capabilities": ["clock.real"]}
INPUTS = {"module": MODULE, "args": ARGS, "stdin": STDIN}
TRUE = result("exited", 5_000, code=0, out=(6, sha256(b"hello\n")))
FALSE = result("exited", 5_000, code=0, out=(6, sha256(b"HELLO\n")))


def node(number: int) -> str:
    return peer_id(public_key(SEEDS[number]))


def payload(number: int, changes: Json, task: Json = TASK) -> str:
    """Return the statement of a node, by its number."""
    return compact(statement({**changes, "node.peerId": node(number)}, task))


def sealed(text: str, *signers: int, payload_type: str = PAYLOAD_TYPE) -> Json:
    """Return the envelope of a payload, signed by nodes."""
    return {
        "payload": base64.b64encode(text.encode()).decode(),
        "payloadType": payload_type,
        "signatures": [
            {
                "keyid": key_id(public_key(SEEDS[number])),
                "sig": base64.b64encode(
                    Ed25519PrivateKey.from_private_bytes(SEEDS[number]).sign(pae(payload_type, text.encode()))
                ).decode(),
            }
            for number in signers
        ],
    }


def receipt(number: int, changes: Json = TRUE, task: Json = TASK) -> Json:
    """Return the receipt of a node, signed by it."""
    return sealed(payload(number, changes, task), number)


def proof(*receipts: Json, inputs: dict[str, bytes] = INPUTS, **more: Any) -> Json:
    given = {name: base64.b64encode(data).decode() for name, data in inputs.items()}
    return {"format": FORMAT, "receipts": list(receipts), "inputs": given, **more}


def refused(name: str, code: str, document: Json | str) -> Json:
    text = document if isinstance(document, str) else compact(document)
    return {"name": name, "proof": text, "refused": code}


def accepted(
    name: str, document: Json, *, differ: bool, convicted: tuple[int, ...] = (), missing: tuple[str, ...] = ()
) -> Json:
    return {
        "name": name,
        "proof": compact(document),
        "refused": None,
        "differ": differ,
        "convicted": [node(number) for number in convicted],
        "missing": list(missing),
    }


def cases() -> list[Json]:
    first, second = receipt(0), receipt(1, FALSE)
    timed_out = receipt(1, result("timed_out", 0))
    swapped = {**second, "signatures": first["signatures"]}
    other_key = sealed(payload(0, FALSE), 1)
    trapped = result("trapped", 5_000, trap="unreachable", out=(6, sha256(b"hello\n")))
    gas = {**TRUE, "result.gasUsed": "5001"}
    size = result("exited", 5_000, code=0, out=(7, sha256(b"hello\n")))
    both = {**second, "signatures": [*other_key["signatures"], *second["signatures"]]}
    real = [receipt(0, TRUE, CLOCK), receipt(1, FALSE, CLOCK)]
    return [
        accepted("two nodes differ in stdout", proof(first, second), differ=True),
        accepted("two nodes differ in gas", proof(first, receipt(1, gas)), differ=True),
        accepted("two nodes differ in the outcome", proof(first, receipt(1, trapped)), differ=True),
        accepted("two nodes differ in the size of an output", proof(first, receipt(1, size)), differ=True),
        accepted(
            "claims do not count",
            proof(first, receipt(1, {**TRUE, "claims.cpuTimeMs": "1", "claims.isolation": "shared"})),
            differ=False,
        ),
        accepted("one receipt and the inputs", proof(first), differ=False),
        accepted("the most receipts", proof(*(receipt(number) for number in range(64))), differ=False),
        accepted("one receipt twice", proof(first, first), differ=False),
        accepted("one node signed both", proof(first, receipt(0, FALSE)), differ=True, convicted=(0,)),
        accepted(
            "one node signed both, and another one of them",
            proof(receipt(1), receipt(0), receipt(0, FALSE)),
            differ=True,
            convicted=(0,),
        ),
        accepted("a claim of the node beside", proof(first, timed_out), differ=False),
        accepted(
            "one node, whose other receipt is only a claim",
            proof(first, receipt(0, result("timed_out", 0))),
            differ=False,
        ),
        accepted(
            "without the inputs",
            proof(first, second, inputs={}),
            differ=True,
            missing=("module", "args", "stdin"),
        ),
        accepted(
            "without the list of inputs",
            {"format": FORMAT, "receipts": [first, second]},
            differ=True,
            missing=("module", "args", "stdin"),
        ),
        accepted(
            "an empty input that is there", proof(first, second, inputs={**INPUTS, "env": b""}), differ=True
        ),
        accepted("unknown fields", proof(first, second, more={"note": 1}), differ=True),
        accepted("a co-signature of another key", proof(first, both), differ=True),
        refused("no JSON", "malformed-proof", "proof"),
        refused("no object", "malformed-proof", "[]"),
        refused(
            "another format", "malformed-proof", {**proof(first, second), "format": "plasm.fraud-proof/v9"}
        ),
        refused("a name twice", "malformed-proof", compact(proof(first, second))[:-1] + ',"inputs":{}}'),
        refused("no receipt", "malformed-proof", proof()),
        refused("receipts that are no list", "malformed-proof", {**proof(first), "receipts": first}),
        refused("one receipt too many", "malformed-proof", proof(*(receipt(n) for n in range(65)))),
        refused("a receipt that is null", "malformed-proof", {**proof(first), "receipts": [first, None]}),
        refused(
            "an envelope without signatures", "malformed-proof", proof(first, {**second, "signatures": []})
        ),
        refused("inputs that are a list", "malformed-proof", {**proof(first, second), "inputs": []}),
        refused("inputs that are null", "malformed-proof", {**proof(first, second), "inputs": None}),
        refused(
            "an input that is no base64",
            "malformed-proof",
            {**proof(first, second), "inputs": {"module": "?"}},
        ),
        refused(
            "an input that is a number", "malformed-proof", {**proof(first, second), "inputs": {"module": 7}}
        ),
        refused(
            "a payload of another type",
            "malformed-receipt",
            proof(first, sealed(payload(1, FALSE), 1, payload_type="text/plain")),
        ),
        refused("a payload that is no receipt", "malformed-receipt", proof(first, sealed("{}", 1))),
        refused(
            "a task digest that is not of its fields",
            "malformed-receipt",
            proof(first, receipt(1, {**FALSE, "asked.taskDigest": "00" * 32})),
        ),
        refused(
            "signed by another key than the node that it names", "forged-signature", proof(first, other_key)
        ),
        refused("the signature of another receipt", "forged-signature", proof(first, swapped)),
        refused(
            "a receipt changed after it was signed",
            "forged-signature",
            proof({**first, "payload": base64.b64encode(payload(0, FALSE).encode()).decode()}, receipt(1)),
        ),
        refused(
            "an old receipt under a new key",
            "forged-signature",
            proof(first, {**sealed(payload(2, FALSE), 1), "signatures": second["signatures"]}),
        ),
        refused("a receipt of another task", "unequal-tasks", proof(first, receipt(1, FALSE, OTHER_TASK))),
        refused(
            "a task with another limit",
            "unequal-tasks",
            proof(first, receipt(1, FALSE, {**TASK, "gas": "9999999"})),
        ),
        refused("a job that read the real clock", "not-reproducible", proof(*real)),
        refused("one receipt of a job that read the real clock", "not-reproducible", proof(real[0])),
        refused(
            "only claims of the nodes",
            "not-recheckable",
            proof(timed_out, receipt(0, result("cancelled", 0))),
        ),
        refused("another module", "wrong-input", proof(first, second, inputs={**INPUTS, "module": b"other"})),
        refused("another input", "wrong-input", proof(first, second, inputs={**INPUTS, "stdin": b"other"})),
        refused(
            "an input where the task has none",
            "wrong-input",
            proof(first, second, inputs={**INPUTS, "env": b"A=1"}),
        ),
        refused(
            "a forged receipt of another task",
            "forged-signature",
            proof(first, sealed(payload(1, FALSE, OTHER_TASK), 2)),
        ),
    ]


def main() -> None:
    """Write the file."""
    found = cases()
    assert len({item["name"] for item in found}) == len(found)
    FILE.write_text(json.dumps({"cases": found}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
