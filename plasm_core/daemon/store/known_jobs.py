"""Which jobs there certainly are not: most that are submitted are new, and the disk need not be asked for them."""

from __future__ import annotations

_BITS = 23
_PARTS = 4


class KnownJobs:
    """A Bloom filter over job ids in one megabyte. Job ids are digests, so parts of them serve as hashes.

    With 500,000 jobs, one new job in 500 is mistaken for a known one. With more jobs it saves less, and it never
    misses a known job.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_BITS - 3))

    def add(self, job_id: str) -> None:
        """Add a job. Jobs are never removed."""
        for position in _positions(job_id):
            self._bits[position >> 3] |= 1 << (position & 7)

    def __contains__(self, job_id: str) -> bool:
        return all(self._bits[position >> 3] & 1 << (position & 7) for position in _positions(job_id))


def _positions(job_id: str) -> list[int]:
    return [int(job_id[8 * part : 8 * part + 8], 16) >> (32 - _BITS) for part in range(_PARTS)]
