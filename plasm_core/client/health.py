"""Asking the daemon on this machine how it is."""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio

from plasm_core.alongside import sole
from plasm_core.client.asking import ask
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError, PlasmError, ProtocolError
from plasm_core.health import FAILURE, OK, WARNING, Check
from plasm_core.wire import HEALTH_PROTOCOL

_MAX_CHECKS = 256


def ask_daemon(config: Config) -> list[Check]:
    """Return the daemon's own checks, or one that says why there are none."""
    try:
        with sole():
            return trio.run(_ask, config)
    except PeerUnreachableError as exc:
        return [Check(name="daemon", status=WARNING, found=str(exc), hint=exc.hint)]
    except PlasmError as exc:
        return [Check(name="daemon", status=FAILURE, found=str(exc), hint=exc.hint)]


async def _ask(config: Config) -> list[Check]:
    return parse(await ask(config, HEALTH_PROTOCOL))


def parse(data: bytes) -> list[Check]:
    """Read a daemon's checks. Raises: `ProtocolError`."""
    try:
        entries = json.loads(data)
        if not isinstance(entries, list) or len(entries) > _MAX_CHECKS:
            raise ValueError("not a list of checks")
        return [_check(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"what the daemon says of its health cannot be read: {exc}") from None


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
