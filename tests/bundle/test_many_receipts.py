"""The outputs that a bundle lacks are asked for at all nodes at once, so that one that hangs delays no other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from plasm_core.cli.acceptance import job_history
from plasm_core.cli.bundle import _known
from plasm_core.errors import WaitTimeoutError
from plasm_core.records import Handle
from plasm_core.records.manifest import job_id, new_nonce
from plasm_core.signing import sign_receipt
from plasm_core.testing import claims


def test_nodes_are_asked_once_and_only_those_that_answer_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    receipts, handles = [], []
    for _ in range(4):
        manifest = attrs.evolve(claims.manifest(), nonce=new_nonce())
        receipts.append(sign_receipt(claims.receipt(of=manifest), claims.SIGNER).to_json())
        handle = Handle(job_id=job_id(manifest.to_json()), secret=bytes(32), peer=claims.SIGNER.peer_id)
        handles.append(handle)
        job_history().add(handle, "hello.wasm", "local")
    asked: list[list[Handle]] = []
    fetched: list[Handle] = []

    def ended(given: list[Handle]) -> list[Handle]:
        asked.append(given)
        return given[1:3]

    def fetch(handle: Handle) -> bytes:
        fetched.append(handle)
        if handle == handles[1]:
            raise WaitTimeoutError("it hangs")
        return b""

    with ExitStack() as stack:
        _known(receipts, [], ended, fetch, stack)

    assert asked == [handles]
    assert fetched == handles[1:3]
