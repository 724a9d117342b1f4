"""Owners: whose a job is, so that it is counted. Names are keyed digests, which tell nobody who that is.

The key is in the state directory (`paths.owners_key`), so that the same client has the same names after a restart.
Who removes it has every client forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import attrs

from plasm_core.daemon.quotas import counted_names
from plasm_core.records import PeerId
from plasm_core.shares import Holder
from plasm_core.store import Job

_RECOVERED = "from before the start"
_DIGEST_CHARACTERS = 32


@attrs.frozen(kw_only=True)
class Owner:
    """Whose a job is.

    `line`: what the queues count it with. `client`: whose shared worker it may have. `counted`: the names that
    quotas count it under, none for users of this machine. `holder`: whose share its places and bytes are of.
    """

    line: str
    client: str
    counted: tuple[str, ...]
    holder: Holder


class Owners:
    """Names clients."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Whoever may end the daemon needs no share of it.
        self._operators = {f"user {os.geteuid()}", "user 0", "local"}

    def names(self, *names: str) -> tuple[str, ...]:
        """Return the digests of some names."""
        return tuple(
            hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]
            for name in names
        )

    def of(self, peer: PeerId | None, group: str) -> Owner:
        """Return the owner that a stream's client is: a user of this machine, if it has no PeerId."""
        counted = self.names(*counted_names(peer, group))
        names = counted or self.names(group)
        return Owner(
            line=names[-1],
            client=str(peer or group),
            counted=counted,
            holder=Holder(
                names=names,
                is_own=peer is None,
                is_bounded=peer is not None or group not in self._operators,
            ),
        )


def recovered(job: Job) -> Owner:
    """Return the owner of a job that was accepted before the start. Its shared worker is its own."""
    names = job.holder.names
    return Owner(
        line=names[-1] if names else _RECOVERED,
        client=f"job {job.row}",
        counted=() if job.holder.is_own else names,
        holder=job.holder,
    )
