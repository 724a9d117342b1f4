"""The client's memory of a submitted job, for verifying its result."""

from __future__ import annotations

import attrs

from plasm_core.client.submission import Submission
from plasm_core.records.peer import PeerId

MAX_REMEMBERED = 10_000


@attrs.frozen(kw_only=True)
class Sent:
    """A job's limit for each output (None: unknown), and whether it was sent through the daemon as a gateway.

    `file_bytes`: the limit of its output files together, None if unknown.
    """

    output_bytes: int | None = None
    file_bytes: int | None = None
    through_gateway: bool = False


class SentJobs:
    """The latest submissions by job id, bounded in number."""

    def __init__(self) -> None:
        self._jobs: dict[str, Sent] = {}
        self._trees: dict[tuple[PeerId, str], None] = {}

    def add(self, submission: Submission, *, through_gateway: bool) -> None:
        """Remember a job."""
        job_id = submission.job_id
        limit = submission.manifest.limits.output_bytes
        file_bytes = None if submission.pack is None else submission.fetch_limits.file_bytes
        self._jobs.pop(job_id, None)
        self._jobs[job_id] = Sent(output_bytes=limit, file_bytes=file_bytes, through_gateway=through_gateway)
        if len(self._jobs) > MAX_REMEMBERED:
            del self._jobs[next(iter(self._jobs))]

    def forget(self, job_id: str) -> None:
        """Forget a job whose result will not be requested again."""
        self._jobs.pop(job_id, None)

    def add_tree(self, peer: PeerId, submission: Submission) -> None:
        """Remember that a node has taken a job's files."""
        if submission.pack is not None:
            key = peer, submission.pack.tree
            self._trees.pop(key, None)
            self._trees[key] = None
            if len(self._trees) > MAX_REMEMBERED:
                del self._trees[next(iter(self._trees))]

    def has_tree(self, peer: PeerId, submission: Submission) -> bool:
        """Return whether a node has taken a job's files before, of this job or another."""
        return submission.pack is not None and (peer, submission.pack.tree) in self._trees

    def find(self, job_id: str) -> Sent:
        """Return what is remembered of a job; if nothing is, a `Sent` without limits."""
        return self._jobs.get(job_id, Sent())
