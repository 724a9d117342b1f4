"""The states of a job's life."""

from __future__ import annotations

import enum


class JobState(str, enum.Enum):
    """The state of a job, in the words of GA4GH TES. Each member equals its name in messages and receipts."""

    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"

    def __str__(self) -> str:
        return self.value

    @property
    def live(self) -> bool:
        """Whether the job has no result yet."""
        return self in (JobState.QUEUED, JobState.INITIALIZING, JobState.RUNNING)
