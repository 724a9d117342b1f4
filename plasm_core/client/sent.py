"""What a client knows of a job that it has submitted, and needs when it asks for the result."""

from __future__ import annotations

import attrs

from plasm_core.client.submission import Submission

MAX_REMEMBERED = 10_000


@attrs.frozen(kw_only=True)
class Sent:
    """A job's limit for each output (None: not known), and whether it went through the daemon as a gateway."""

    output_bytes: int | None = None
    through_gateway: bool = False


class SentJobs:
    """What was sent, by job id: the latest, bounded in number."""

    def __init__(self) -> None:
        self._jobs: dict[str, Sent] = {}

    def add(self, submission: Submission, job_id: str, *, through_gateway: bool) -> None:
        """Remember a job."""
        limit = submission.manifest.limits.output_bytes
        self._jobs.pop(job_id, None)
        self._jobs[job_id] = Sent(output_bytes=limit, through_gateway=through_gateway)
        if len(self._jobs) > MAX_REMEMBERED:
            del self._jobs[next(iter(self._jobs))]

    def find(self, job_id: str) -> Sent:
        """Return what is known of a job."""
        return self._jobs.get(job_id, Sent())
