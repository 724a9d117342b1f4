"""Clients' use of their hourly shares, stored so that a restart does not reset it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from plasm_core.daemon.store.database import Database

HOUR_S = 3600.0


@attrs.frozen(kw_only=True)
class Use:
    """A client's remaining share of a resource at a moment; `remaining` is None if it is full again.

    `name` is a keyed digest, which does not reveal the client. A negative `remaining` is a debt. `at_s`: seconds of
    the store's clock since 1970.
    """

    name: str
    resource: str
    remaining: float | None
    at_s: float


class UsageTable:
    """The clients' uses in the database. All methods raise `StorageError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Use]:
        """Return every use, the longest unchanged first."""
        rows = self._database.query("SELECT name, resource, remaining, at_s FROM client_use ORDER BY at_s")
        return [
            Use(name=name, resource=resource, remaining=left, at_s=at_s)
            for name, resource, left, at_s in rows
        ]

    def keep(self, uses: Sequence[Use]) -> None:
        """Store uses, in place of earlier ones with the same names and resources."""
        whole = [(use.name, use.resource) for use in uses if use.remaining is None]
        used = [attrs.astuple(use) for use in uses if use.remaining is not None]

        def change(sql: sqlite3.Connection) -> None:
            sql.executemany("DELETE FROM client_use WHERE name = ? AND resource = ?", whole)
            sql.executemany("INSERT OR REPLACE INTO client_use VALUES (?, ?, ?, ?)", used)

        self._database.commit("keep what clients have used", change)

    def forget(self, per_hour: Mapping[str, float], now: datetime) -> int:
        """Delete the uses that have refilled by `now`, at `per_hour` for each resource. Return their number."""
        values = [(name, now.timestamp(), HOUR_S, amount, amount) for name, amount in per_hour.items()]
        statement = "DELETE FROM client_use WHERE resource = ? AND remaining + (? - at_s) / ? * ? >= ?"

        def change(sql: sqlite3.Connection) -> int:
            return sql.executemany(statement, values).rowcount

        return self._database.commit("forget what clients have used", change, essential=True)
