"""Notify systemd of the service's state: sd_notify(3), over the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)


def notify(*assignments: str) -> None:
    """Send assignments such as READY=1 to the service manager (sd_notify(3)). Does nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sock:
            sock.settimeout(1)
            sock.sendto("\n".join(assignments).encode(), address)
    except OSError as exc:
        log.warning("cannot notify the service manager reason=%s", exc.strerror)


def watchdog_interval_s() -> float | None:
    """Return the seconds between two keep-alive messages to systemd, half of WATCHDOG_USEC; None if it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2e6 if usec.isdecimal() and int(usec) else None


async def keep_notified(status: Callable[[], str]) -> None:
    """Send the status, and a keep-alive, to the service manager from time to time. Does not return."""
    interval = watchdog_interval_s()
    told = ""
    while True:
        text = status()
        assignments = ["WATCHDOG=1"] if interval else []
        if text != told:
            assignments.append(f"STATUS={text}")
            told = text
        if assignments:
            notify(*assignments)
        await trio.sleep(min(interval or 5, 5))
