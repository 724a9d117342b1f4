"""A job that the node accepted and the server did not learn of is found again, with its owner and its webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from plasm_core.client.async_client import AsyncClient
from plasm_core.errors import PeerUnreachableError, PlasmError, RefusedError
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle, PeerId
from plasm_core.records.job import JobState
from plasm_core.records.manifest import new_nonce
from plasm_core.testing import claims
from plasm_core.web.job_table import WebJob, WebJobTable
from plasm_core.web.web_jobs import WebJobs

pytestmark = pytest.mark.trio

PEER = claims.SIGNER.peer_id


@attrs.define
class _Daemon:
    """Has accepted the jobs of some handles, and may be away."""

    jobs: dict[str, Status] = attrs.field(factory=dict)
    is_away: bool = False
    asked: int = 0

    @property
    def dialler(self) -> _Daemon:
        return self

    @asynccontextmanager
    async def converse(self, _peer: PeerId | None) -> AsyncIterator[tuple[None, PeerId]]:
        if self.is_away:
            raise PeerUnreachableError("no daemon")
        yield None, PEER

    async def statuses(self, handles: list[Handle], *, timeout_s: float) -> list[Status | PlasmError]:
        self.asked += 1
        return [self.jobs.get(str(handle)) or RefusedError("unknown_job", "none") for handle in handles]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[WebJobTable]:
    with closing(WebJobTable(tmp_path / "web")) as opened:
        yield opened


def submitted(table: WebJobTable, webhook: str | None = None) -> WebJob:
    manifest = attrs.evolve(claims.manifest(), nonce=new_nonce())
    return table.add("owner", manifest.to_json(), "job", webhook)[0]


def accept(daemon: _Daemon, job: WebJob, state: str) -> None:
    handle = Handle(job_id=job.job_id, secret=job.secret, peer=PEER)
    daemon.jobs[str(handle)] = Status(state=JobState(state), attempt=1, stdout_bytes=0, stderr_bytes=0)


def web_jobs(daemon: _Daemon, table: WebJobTable) -> tuple[WebJobs, list[tuple[str, Any]]]:
    jobs, told = WebJobs(cast(AsyncClient, daemon), table), list[tuple[str, Any]]()
    jobs.observers.append(lambda job, status: told.append((job.job_id, status["state"])))
    return jobs, told


def later() -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=1)


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "COMPLETE"])
async def test_a_job_that_was_accepted_is_its_owners_again(table: WebJobTable, state: str) -> None:
    daemon, job = _Daemon(), submitted(table, "https://example.org/hook")
    accept(daemon, job, state)
    jobs, told = web_jobs(daemon, table)
    assert table.find("owner", job.job_id) is None
    await jobs.recover(later())
    found = table.find("owner", job.job_id)

    assert found is not None
    assert found.handle == Handle(job_id=job.job_id, secret=job.secret, peer=PEER)
    assert [item.number for item in table.awaited(limit=9)] == [job.number]
    assert told == ([] if state == "COMPLETE" else [(job.job_id, state)])


async def test_a_job_that_was_not_accepted_is_forgotten(table: WebJobTable) -> None:
    daemon, job = _Daemon(), submitted(table)
    jobs, _ = web_jobs(daemon, table)
    await jobs.recover(later())

    assert table.numbered(job.number) is None


async def test_a_job_that_is_being_submitted_is_not_touched(table: WebJobTable) -> None:
    daemon, job = _Daemon(), submitted(table)
    jobs, _ = web_jobs(daemon, table)
    await jobs.recover(datetime.now(timezone.utc) - timedelta(minutes=10))

    assert table.numbered(job.number) is not None
    assert daemon.asked == 0


async def test_nothing_is_forgotten_while_the_daemon_is_away(table: WebJobTable) -> None:
    daemon, job = _Daemon(is_away=True), submitted(table)
    jobs, _ = web_jobs(daemon, table)
    with pytest.raises(PeerUnreachableError):
        await jobs.recover(later())

    assert table.numbered(job.number) is not None
