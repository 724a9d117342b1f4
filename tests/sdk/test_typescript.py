"""The TypeScript package: its own tests by Node's runner, and what it must agree on with Python."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plasm_core.records import PeerId
from plasm_core.testing.claims import SIGNER
from tests.fuzz.reader_inputs import Inputs
from tests.fuzz.readers import read
from tests.sdk.conftest import PACKAGE, ROOT
from tests.support.signed_batch import batch, signed_receipt

INPUTS = 4_000
NOT_READ = ("capabilities", "message", "listing", "pack")
"""What only nodes, and clients that speak to nodes, read."""


def node(built: Path, *arguments: str, data: bytes = b"") -> str:
    """Run Node with the built package, and return what it prints."""
    done = subprocess.run(
        ["node", *arguments],
        input=data,
        env={**os.environ, "PLASM_SDK": str(built)},
        capture_output=True,
        timeout=300,
        cwd=PACKAGE,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-8_000:]
    return done.stdout.decode()


def test_the_packages_own_tests_pass(built: Path) -> None:
    """All shared vectors; of the determinism vectors output, outcome and gas."""
    tests = sorted(path.name for path in (PACKAGE / "test").glob("*.test.mjs"))

    told = node(built, "--test", "--test-reporter=tap", *(f"test/{name}" for name in tests))

    assert re.search(r"^# fail 0$", told, re.MULTILINE)
    assert int(re.findall(r"^# pass (\d+)$", told, re.MULTILINE)[0]) > 450


def test_the_page_ships_what_the_source_compiles_to(built: Path) -> None:
    """Users build nothing. After a change of the package: `cd sdk/typescript && node build.mjs --page`."""
    shipped = ROOT / "plasm_core" / "web" / "static" / "sdk"

    there, made = (
        {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*.*js")}
        for top in (shipped, built)
    )

    del made["react.js"]  # a page without a bundler cannot load it
    assert sorted(there) == sorted(made)
    assert [name for name in made if there[name] != made[name]] == []


def test_python_and_typescript_read_alike(built: Path) -> None:
    """Damaged receipts, envelopes, manifests, handles and PeerIds get one verdict, and the same values."""
    given = [item for item in itertools.islice(Inputs(20261129), INPUTS) if item[0] not in NOT_READ]
    lines = "".join(f"{kind} {base64.b64encode(data).decode()}\n" for kind, data in given)

    told = node(built, "test/readers.mjs", str(SIGNER.peer_id), data=lines.encode()).splitlines()

    theirs = [json.loads(line) for line in told]
    ours = [read(kind, data) for kind, data in given]
    assert len(theirs) == len(given) > INPUTS // 2
    differing = [
        (*item, one, other) for item, one, other in zip(given, ours, theirs, strict=True) if one != other
    ]
    assert differing[:3] == []
    accepted = {kind for (kind, _), value in zip(given, ours, strict=True) if value is not None}
    assert accepted >= {"receipt", "envelope", "manifest", "handle", "peer", "multihash", "verified"}


def changed(document: bytes, **fields: Any) -> bytes:
    """Return a document with some fields replaced."""
    return json.dumps({**json.loads(document), **fields}).encode()


def test_batches_and_inclusion_proofs_that_python_makes_are_verified(built: Path) -> None:
    """In trees of every shape up to 9 leaves; what was tampered with is rejected."""
    stranger = str(PeerId(bytes([9]) * 32))
    cases: list[tuple[bytes, str, str]] = []
    for jobs in range(1, 10):
        whole = batch(jobs)
        cases.append((whole.to_json(), str(SIGNER.peer_id), "accept"))
        for job in range(jobs):
            proof = whole.proof(job, signed_receipt() if job % 2 == 0 else None).to_json()
            cases.append((proof, str(SIGNER.peer_id), "accept"))
            cases.append((proof, stranger, "undecided"))
            cases.append((changed(proof, job=job + 1), str(SIGNER.peer_id), "reject"))
            cases.append((changed(proof, inclusion=["00" * 32]), str(SIGNER.peer_id), "reject"))
    document = batch(4).to_json()
    leaves = json.loads(document)["leaves"]
    cases += [
        (changed(document, leaves=leaves[::-1]), str(SIGNER.peer_id), "reject"),
        (changed(document, leaves=leaves[:-1]), str(SIGNER.peer_id), "reject"),
        (changed(document, format="plasm.batch/v1"), str(SIGNER.peer_id), "reject"),
        (document[:-2], str(SIGNER.peer_id), "reject"),
        (changed(batch(2).proof(0, None).to_json(), receipt=None), str(SIGNER.peer_id), "reject"),
    ]
    lines = "".join(f"{trusted} {base64.b64encode(data).decode()}\n" for data, trusted, _ in cases)

    told = node(built, "test/batches.mjs", data=lines.encode()).split()

    assert told == [decision for _, _, decision in cases]


@pytest.mark.parametrize("path", sorted((PACKAGE / "src").rglob("*.ts")), ids=lambda path: path.stem)
def test_the_package_needs_no_other_at_run_time(path: Path) -> None:
    """Not even Node's modules by name: bundlers for browsers would look for them."""
    imported = set(re.findall(r'(?:from |await import\()"([^."][^"]*)"', path.read_text()))

    assert imported <= {"react"}
