"""Asking the daemon on this machine how it is."""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio

from plasm_core.background_tasks import sole
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.diagnostics import FAILURE, OK, WARNING, Check
from plasm_core.errors import PeerUnreachableError, PlasmError, ProtocolError
from plasm_core.protocol import HEALTH_PROTOCOL

_MAX_CHECKS = 256


def ask_daemon(config: Config) -> list[Check]:
    """Return the daemon's health checks, or one check that says why the daemon did not answer."""
    try:
        with sole():
            return trio.run(ask_health, config)
    except PeerUnreachableError as exc:
        return [Check(name="daemon", status=WARNING, found=str(exc), hint=exc.hint)]
    except PlasmError as exc:
        return [Check(name="daemon", status=FAILURE, found=str(exc), hint=exc.hint)]


async def ask_health(config: Config) -> list[Check]:
    """Return the daemon's health checks. Raises: `PeerUnreachableError`, `ProtocolError`, `StreamError`."""
    return parse(await ask(config, HEALTH_PROTOCOL, grace_s=0))


def parse(data: bytes) -> list[Check]:
    """Read a daemon's checks. Raises: `ProtocolError`."""
    try:
        entries = json.loads(data)
        if not isinstance(entries, list) or len(entries) > _MAX_CHECKS:
            raise ValueError("not a list of checks")
        return [_check(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"the daemon's report of its health cannot be read: {exc}") from None


def _check(entry: dict[str, object]) -> Check:
    known: Sequence[str] = (OK, WARNING, FAILURE)
    status = entry["status"]
    if status not in known:
        raise ValueError(f"no status: {status}")
    hint = entry.get("hint")
    return Check(
        name=str(entry["name"]),
        status=str(status),
        found=str(entry["found"]),
        hint=None if hint is None else str(hint),
    )
