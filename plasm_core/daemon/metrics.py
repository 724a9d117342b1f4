"""What a daemon has done, told to its own users only: `/plasm/metrics/1.0.0`.

The answer is a u32 big-endian length and a page in the Prometheus text format.
"""

from __future__ import annotations

import logging

import trio

from plasm_core.abc import Stream, StreamHandler
from plasm_core.counters import render
from plasm_core.daemon.health import Parts

log = logging.getLogger(__name__)

_TELL_S = 10
LOG_S = 60.0


def measure(parts: Parts) -> dict[str, float]:
    """Return every series: what the service, its networks and its directories have counted, and what there is now."""
    service = parts.service
    values: dict[str, float] = {
        "jobs_running": len(service.slots),
        "jobs_waiting": len(service.queue),
        "offers_open": len(service.offers),
        "memory_lent_bytes": service.slots.total.memory_bytes,
        "memory_taken_bytes": service.slots.total.memory_bytes - service.slots.free.memory_bytes,
        "memory_idle_bytes": service.node.executor.idle_bytes,
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        **service.counters.series,
    }
    told = [network.metrics for network in parts.networks.values()]
    told += [directory.metrics for directory in parts.directories.values()]
    for metrics in told:
        for name, value in metrics.items():
            values[name] = values.get(name, 0) + value
    return values


def tell_metrics(parts: Parts) -> StreamHandler:
    """Return the handler that answers with the page."""

    async def handle(stream: Stream) -> None:
        page = render(measure(parts)).encode()
        with trio.fail_after(_TELL_S):
            await stream.send_all(len(page).to_bytes(4, "big") + page)
            await stream.aclose()

    return handle


async def log_metrics(parts: Parts) -> None:
    """Log every series now and then, for ever, where anyone wants to know."""
    while True:
        await trio.sleep(LOG_S)
        if log.isEnabledFor(logging.DEBUG):
            values = measure(parts)
            names = sorted(values)
            log.debug("counters " + " ".join(f"{name}=%g" for name in names), *map(values.get, names))
