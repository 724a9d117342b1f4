"""What a client holds of a batch does not grow with the number of its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pytest
import trio

from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.inputs import from_range
from plasm_core.batch.plan import BatchTerms, Templates, add_jobs
from plasm_core.batch.run import BatchRun
from plasm_core.batch.template import Template
from plasm_core.client.opening import open_client
from plasm_core.client.submitted_job import Sent, SentJobs
from plasm_core.records.manifest import job_id
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT

HELLO = ROOT / "examples" / "hello" / "hello.wasm"


def test_a_job_that_has_ended_is_forgotten(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client remembered the latest 10,000: the first 10,000 jobs of a batch cost memory."""
    for name in ("PLASM_SOCKET", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, daemon.environ[name])
    sent, terms = SentJobs(), BatchTerms()

    def copy(file: IO[bytes]) -> None:
        with file:
            file.write(HELLO.read_bytes())

    with BatchFolder.create(tmp_path / "b", {"terms": terms.to_json()}, copy) as folder:
        assert list(add_jobs(folder, from_range("3"), Templates(args=[Template.parse("{}")]), terms)) == [3]

        async def work() -> None:
            async with open_client(sent=sent) as client:
                await BatchRun(folder).run(client)

        trio.run(work)

        rows = list(folder.rows())
        assert [row.stdout for row in rows] == [b"0\n", b"1\n", b"2\n"]
        assert [sent.find(job_id(row.manifest or b"")) for row in rows] == [Sent()] * 3
