"""Requests of the user that runs the daemon: list all jobs, and cancel one."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from plasm_core.background_tasks import sole
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError, ProtocolError, RefusedError
from plasm_core.protocol import CANCEL_PROTOCOL, JOBS_PROTOCOL
from plasm_core.records.converter import parse_json, structure
from plasm_core.records.fields import constrained, digest, integer, one_of, text
from plasm_core.records.job import JobState
from plasm_core.records.outcome import Outcome, optional

_MAX_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class ListedJob:
    """One job of a daemon, as its operator sees it. `age_s`: since it was accepted, in seconds.

    `owner`: a user of the machine by name, or a client of the network by the beginning of a keyed digest.
    """

    json_camel = True
    json_open = True

    job_id: str = constrained(digest())
    module: str = constrained(digest())
    owner: str = constrained(text(maximum=256))
    state: str = constrained(one_of(*(state.value for state in JobState)))
    outcome: Outcome | None = None
    route: str = constrained(one_of("here", "network"))
    accepted_at: str | None = constrained(optional(text(maximum=64)), default=None)
    age_s: int = constrained(integer(0))
    gas_used: int | None = constrained(optional(integer(0)), default=None)


def all_jobs(config: Config) -> tuple[list[ListedJob], int]:
    """Return the jobs of the daemon of this machine, and how many more it has.

    Raises: `RefusedError` if this user does not run the daemon; `PeerUnreachableError`, `ProtocolError`.
    """
    answer = _asked(config, JOBS_PROTOCOL)
    jobs, more = answer.get("jobs"), answer.get("more")
    if not isinstance(jobs, list) or not isinstance(more, int):
        raise ProtocolError("the daemon's list of jobs cannot be read")
    return [structure(job, ListedJob, record="job of the list") for job in jobs], more


def cancel_any(config: Config, prefix: str) -> tuple[str, str]:
    """Cancel the live job whose id begins with the given digits. Return its id and its state.

    Raises: `RefusedError` if there is no such job or several, or this user does not run the daemon;
    `PeerUnreachableError`, `ProtocolError`.
    """
    answer = _asked(config, CANCEL_PROTOCOL, prefix.encode() + b"\n")
    return str(answer.get("jobId")), str(answer.get("state"))


def _asked(config: Config, protocol: str, question: bytes = b"") -> dict[str, Any]:
    try:
        with sole():
            data = trio.run(ask, config, protocol, question)
        answer = parse_json(data, record="answer", maximum=_MAX_BYTES)
    except PeerUnreachableError as exc:
        raise PeerUnreachableError(f"no daemon answers: {exc}", hint=exc.hint) from exc
    if not isinstance(answer, dict):
        raise ProtocolError("the daemon's answer is no object")
    if "refused" in answer:
        raise RefusedError("policy", str(answer["refused"]))
    return answer
