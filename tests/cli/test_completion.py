"""Hold what the shell is offered for the values of options and for handles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.cli.acceptance import job_history
from plasm_core.records import Handle
from tests.support.receipts import SIGNER

PEER = str(SIGNER.peer_id)


def completed(words: str) -> list[str]:
    """Return what bash is offered for the last word."""
    environ = {
        **os.environ,
        "_PLASM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "plasm_core.cli"], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("plasm run --runtime wasmt", "wasmtime"),
        ("plasm run --verifier sig", "signature"),
        ("plasm run --verifier signature,reex", "signature,reexecute"),
    ],
)
def test_the_names_of_installed_plugins_are_offered(words: str, offered: str) -> None:
    assert offered in completed(words)


def test_jobs_are_offered_by_their_ids(homes: Path) -> None:
    handle = Handle(job_id="ab" * 32, secret=bytes(32), peer=SIGNER.peer_id)
    job_history().add(handle, "hello.wasm", "local")

    assert completed("plasm status ab") == ["abababababab"]
    assert completed("plasm status ac") == []


def test_peers_that_are_known_are_offered(homes: Path) -> None:
    file = homes / "state" / "plasm" / "peers.json"
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"peers": ["/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"]}}')

    assert completed(f"plasm run --peer {PEER[:12]}") == [PEER]
    file.write_bytes(b"\xff\x00 no JSON")
    assert completed(f"plasm run --peer {PEER[:12]}") == []
