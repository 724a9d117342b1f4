"""Asking the daemon on this machine how it is."""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio

from plasm_core import paths, plugins
from plasm_core.abc import Network, Transport
from plasm_core.alongside import sole
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError, PlasmError, ProtocolError
from plasm_core.health import FAILURE, OK, WARNING, Check
from plasm_core.wire import HEALTH_PROTOCOL

_ASK_S = 5.0
_MAX_BYTES = 1 << 20
_MAX_CHECKS = 256
_START = "start one with: plasmd"


def ask_daemon(config: Config) -> list[Check]:
    """Return the daemon's own checks, or one that says why there are none."""
    try:
        with sole():
            return trio.run(_ask, config)
    except PeerUnreachableError as exc:
        return [Check(name="daemon", status=WARNING, found=str(exc), hint=exc.hint or _START)]
    except PlasmError as exc:
        return [Check(name="daemon", status=FAILURE, found=str(exc), hint=exc.hint)]


async def _ask(config: Config) -> list[Check]:
    transport = plugins.create(Transport, "local", config.table("transport", "local"))  # type: ignore[type-abstract]
    problems = []
    async with transport.open(None, {}) as network:
        for path in paths.sockets():
            try:
                with trio.fail_after(_ASK_S):
                    return await _checks(network, f"unix:{path}")
            except (PeerUnreachableError, trio.TooSlowError) as exc:
                problems.append(f"{path}: {str(exc) or f'no answer within {_ASK_S:.0f} s'}")
    raise PeerUnreachableError(f"none answers: {'; '.join(problems)}" if problems else "none is running")


async def _checks(network: Network, address: str) -> list[Check]:
    stream = await network.dial(address, HEALTH_PROTOCOL)
    try:
        received = bytearray()
        while data := await stream.receive_some():
            received += data
            if len(received) > _MAX_BYTES:
                raise ProtocolError("the daemon says more of its health than can be")
    finally:
        await stream.aclose()
    length = int.from_bytes(received[:4], "big")
    if len(received) < 4 or length != len(received) - 4:
        raise ProtocolError("the daemon did not finish saying how it is")
    return parse(bytes(received[4:]))


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
