"""The owner of a job: the client that `fair_queue` and `quotas` count it for, named by keyed digests.

The key is in the state directory (`paths.owners_key`), so that the same client has the same names after a restart.
Who removes it has every client forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import attrs

from plasm_core.daemon.scheduling.quotas import counted_names
from plasm_core.daemon.store import Job
from plasm_core.fair_shares import Holder
from plasm_core.records import PeerId

_RECOVERED = "from before the start"
_DIGEST_CHARACTERS = 32


@attrs.frozen(kw_only=True)
class Owner:
    """The owner of a job, with the names under which its use is counted.

    `line`: the name in the queues. `client`: the name for shared workers. `counted`: the names for the quotas, none
    for users of this machine. `holder`: the names for shares of places and bytes.
    """

    line: str
    client: str
    counted: tuple[str, ...]
    holder: Holder

    def line_for(self, route: str) -> str:
        """Return the name in the queue of jobs of a route: those for the network do not wait for others, nor they for them."""
        return self.line if route == "here" else f"{self.line} at other nodes"


class Owners:
    """Computes the owners of clients. Names are keyed digests."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # A user who may end the daemon is not limited.
        self._operators = {f"user {os.geteuid()}", "user 0", "local"}

    def names(self, *names: str) -> tuple[str, ...]:
        """Return the keyed digests of some names."""
        return tuple(
            hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]
            for name in names
        )

    def of(self, peer: PeerId | None, group: str) -> Owner:
        """Return the owner for the client of a stream; without a PeerId it is a user of this machine."""
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
    """Return the owner of a job that was accepted before the daemon's start. No other job shares its worker."""
    names = job.holder.names
    return Owner(
        line=names[-1] if names else _RECOVERED,
        client=f"job {job.row}",
        counted=() if job.holder.is_own else names,
        holder=job.holder,
    )
