"""Who has no token learns nothing of a job: whether its id is known or not, the same is done to answer."""

from __future__ import annotations

import pytest

from plasm_core.daemon.service import Service
from plasm_core.daemon.store import Job
from plasm_core.errors import RefusedError

KNOWN, UNKNOWN = "ab" * 32, "cd" * 32


class Asked:
    """Stands where the store is: it knows one job's id, whose token nobody has."""

    def __init__(self) -> None:
        self.disk: list[str] = []

    def may_have(self, job_id: str) -> bool:
        return job_id == KNOWN

    def find(self, job_id: str, token: bytes) -> Job | None:
        self.disk.append(job_id)
        return None


@pytest.mark.trio
@pytest.mark.parametrize("job_id", [KNOWN, UNKNOWN])
async def test_the_disk_is_asked_whether_or_not_there_is_a_job_of_an_id(job_id: str) -> None:
    """An answer that came 0.1 ms sooner revealed that the module is not stored."""
    service, store = object.__new__(Service), Asked()
    service.store = store  # type: ignore[assignment]

    with pytest.raises(RefusedError) as caught:
        await service.find(job_id, b"no token")

    assert caught.value.reason == "unknown_job"
    assert store.disk == [job_id]
