"""List all jobs of the daemon, and cancel one: only for the user that runs the daemon, and for root.

`/plasm/jobs/1.0.0` answers with JSON: `jobs`, those without a result in the order of acceptance and then the latest
that have ended, and `more`, how many are left out. `/plasm/cancel/1.0.0` reads a line with the beginning of a job id.
Neither reveals an input, an output or a handle.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from plasm_core.daemon.scheduling.owners import Owners
from plasm_core.daemon.service import Service
from plasm_core.daemon.store import Job
from plasm_core.errors import InvalidRecordError
from plasm_core.fair_shares import Holder
from plasm_core.plugins.interfaces import Stream, StreamHandler
from plasm_core.protocol.single_answer import encode_answer
from plasm_core.records import Envelope, Receipt
from plasm_core.records.converter import unstructure
from plasm_core.records.fields import timestamp

MAX_LIVE, MAX_ENDED = 2000, 200
_MAX_LINE_BYTES = 65
_MAX_USERS = 10_000
_QUESTION_S = 10.0
_DIGITS = frozenset("0123456789abcdef")

Answer = Mapping[str, Any]


def tell_jobs(service: Service) -> StreamHandler:
    """Return the handler that answers with all jobs."""

    async def answer(_: str) -> Answer:
        ended = await trio.to_thread.run_sync(service.store.ended, MAX_ENDED)
        names = _Names(service.owners)
        live = service.jobs.in_order()
        jobs = [
            *(_entry(service, job, names.of(job.holder)) for job in live[:MAX_LIVE]),
            *(_entry(service, job, names.of(job.holder)) for job in ended),
        ]
        return {"jobs": jobs, "more": max(0, len(live) - MAX_LIVE)}

    return _for_operator(answer, reads=False)


def cancel_job(service: Service) -> StreamHandler:
    """Return the handler that cancels the live job whose id begins with the digits in the line."""

    async def answer(prefix: str) -> Answer:
        found = [job for job in service.jobs.in_order() if job.job_id.startswith(prefix)]
        if len(prefix) < 4 or not _DIGITS.issuperset(prefix) or len(found) != 1:
            count = "several jobs" if len(found) > 1 else "no job without a result"
            return {"refused": f"{count}: the id begins with {prefix or 'nothing'}"}
        ended = await service.cancel(found[0])
        return {"jobId": ended.job_id, "state": ended.state.value}

    return _for_operator(answer, reads=True)


def _for_operator(make: Callable[[str], Awaitable[Answer]], *, reads: bool) -> StreamHandler:
    async def handle(stream: Stream) -> None:
        # A line that is not read would break the connection before the answer has come.
        question = await _line(stream) if reads else ""
        if stream.remote_group in (f"user {os.geteuid()}", "user 0"):
            answer = await make(question)
        else:
            answer = {"refused": "all jobs are shown to the user that runs the daemon, and to root"}
        with trio.fail_after(_QUESTION_S):
            await stream.send_all(encode_answer(json.dumps(answer).encode()))
            await stream.aclose()

    return handle


async def _line(stream: Stream) -> str:
    data = b""
    with trio.move_on_after(_QUESTION_S):
        while b"\n" not in data and len(data) < _MAX_LINE_BYTES:
            more = await stream.receive_some(_MAX_LINE_BYTES)
            if not more:
                break
            data += more
    return data[:_MAX_LINE_BYTES].partition(b"\n")[0].decode("ascii", "replace")


def _entry(service: Service, job: Job, owner: str) -> dict[str, Any]:
    accepted_at = service.store.shown(job.accepted_at)
    return {
        "jobId": job.job_id,
        "module": job.module,
        "owner": owner,
        "state": job.state.value,
        "outcome": unstructure(job.outcome) if job.outcome else None,
        "route": job.route,
        "acceptedAt": timestamp().dump(accepted_at) if accepted_at else None,
        "ageS": max(0, int((service.store.now() - job.accepted_at).total_seconds())),
        "gasUsed": _gas_used(job),
    }


def _gas_used(job: Job) -> int | None:
    if job.envelope is None:
        return None
    try:
        return Receipt.from_statement(Envelope.from_json(job.envelope).payload).result.gas_used
    except InvalidRecordError:
        return None


class _Names:
    """Names owners: the users of this machine by their names, clients of the network by their keyed digests."""

    def __init__(self, owners: Owners) -> None:
        users = {f"user {entry.pw_uid}": entry.pw_name for entry in pwd.getpwall()[:_MAX_USERS]}
        self._users = dict(zip(owners.names(*users), users.values(), strict=True))

    def of(self, holder: Holder) -> str:
        if not holder.names:
            return "unknown"
        name = holder.names[-1]
        return self._users.get(name) or f"{'user' if holder.is_own else 'client'} {name[:8]}"
