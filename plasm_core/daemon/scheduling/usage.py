"""Store the clients' use of their hourly quotas, so that a restart does not reset it."""

from __future__ import annotations

import logging

import trio

from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.store import Store
from plasm_core.errors import StorageError

log = logging.getLogger(__name__)

_SAVE_S = 1.0
"""A crash forgives no more than what was used within so long, and what the jobs that ran had used."""
_FORGET_S = 60.0


class UsageLog:
    """Saves the state of the quotas in the database. Call all methods in one event loop."""

    def __init__(self, quotas: Quotas, store: Store) -> None:
        self._quotas = quotas
        self._store = store
        self._saving = trio.Lock()

    async def restore(self) -> None:
        """Restore the quotas from the database. Raises: `StorageError`."""
        self._quotas.restore(await trio.to_thread.run_sync(self._store.usage.all))

    async def run(self) -> None:
        """Save changes every second, and delete refilled entries every minute, until cancelled."""
        forget_at = trio.current_time()
        while True:
            await self.save()
            if trio.current_time() >= forget_at:
                forget_at = trio.current_time() + _FORGET_S
                await self._forget()
            await trio.sleep(_SAVE_S)

    async def save(self) -> None:
        """Save what has changed. After a disk error the next call tries again."""
        async with self._saving:  # two writes at once could end in the wrong order
            changes = self._quotas.changes()
            if not changes:
                return
            try:
                await trio.to_thread.run_sync(self._store.usage.keep, changes)
            except StorageError as exc:
                self._quotas.remind(changes)
                log.error("cannot store the usage of clients reason=%s", exc)

    async def _forget(self) -> None:
        try:
            await trio.to_thread.run_sync(self._store.usage.forget, self._quotas.per_hour, self._store.now())
        except StorageError as exc:
            log.error("cannot delete the usage of clients reason=%s", exc)
