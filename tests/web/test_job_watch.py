"""A listener of all jobs is told of them at once, however slowly the daemon tells of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from plasm_core.client.async_client import AsyncClient
from plasm_core.errors import PlasmError, RefusedError, WaitTimeoutError
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle
from plasm_core.records.job import JobState
from plasm_core.records.manifest import new_nonce
from plasm_core.testing import claims
from plasm_core.web.job_table import WebJobTable
from plasm_core.web.job_watch import JobWatch
from plasm_core.web.web_jobs import WebJobs

pytestmark = pytest.mark.trio


@attrs.define
class _Daemon:
    """Tells of many jobs at once, and of none alone."""

    answers: Sequence[Status | PlasmError]
    asked: list[list[Handle]] = attrs.field(factory=list)

    async def statuses(self, handles: list[Handle], *, timeout_s: float) -> list[Status | PlasmError]:
        self.asked.append(handles)
        return list(self.answers)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[WebJobTable]:
    with closing(WebJobTable(tmp_path / "web")) as opened:
        for number in range(3):
            manifest = attrs.evolve(claims.manifest(), nonce=new_nonce())
            job, _ = opened.add("owner", manifest.to_json(), f"job {number}")
            opened.placed(job, claims.SIGNER.peer_id)
        yield opened


def status(state: str) -> Status:
    return Status(state=JobState(state), attempt=1, stdout_bytes=0, stderr_bytes=0)


def watch(table: WebJobTable, *answers: Status | PlasmError) -> tuple[_Daemon, JobWatch]:
    daemon = _Daemon(answers)
    return daemon, JobWatch(WebJobs(cast(AsyncClient, daemon), table), table)


def told(found: list[tuple[Any, dict[str, Any]]]) -> list[tuple[str, str]]:
    return [(job.name, status["state"]) for job, status in found]


async def test_all_live_jobs_are_asked_about_at_once(table: WebJobTable) -> None:
    daemon, watching = watch(table, status("QUEUED"), status("RUNNING"), status("QUEUED"))
    found = await watching.first("owner", None)

    assert told(found) == [("job 0", "QUEUED"), ("job 1", "RUNNING"), ("job 2", "QUEUED")]
    assert [len(handles) for handles in daemon.asked] == [3]


async def test_a_job_that_ended_unobserved_is_reported_later(table: WebJobTable) -> None:
    """Its receipt is fetched by `run`, which tells the listeners."""
    _, watching = watch(table, status("COMPLETE"), RefusedError("released", "gone"), status("QUEUED"))

    assert told(await watching.first("owner", None)) == [("job 2", "QUEUED")]


async def test_a_daemon_that_does_not_answer_is_an_error(table: WebJobTable) -> None:
    _, watching = watch(table, status("QUEUED"), WaitTimeoutError("no answer"), status("QUEUED"))

    with pytest.raises(WaitTimeoutError):
        await watching.first("owner", None)
