"""The metrics of a daemon, for its own users only: `/plasm/metrics/1.0.0`.

The answer is a page in the Prometheus text format.
"""

from __future__ import annotations

import logging
import platform
import shutil
from pathlib import Path

import trio

from plasm_core.daemon.admin.health import Parts
from plasm_core.daemon.series import HELP
from plasm_core.metrics import render, series
from plasm_core.plugins.interfaces import StreamHandler
from plasm_core.protocol.single_answer import answering
from plasm_core.version import __version__

log = logging.getLogger(__name__)

LOG_S = 60.0
_BUILD = series("build_info", version=__version__, python=platform.python_version())


def measure(parts: Parts) -> dict[str, float]:
    """Return the current value of every series: counters of the service, networks and directories, and gauges."""
    service = parts.service
    values: dict[str, float] = {
        "jobs_running": len(service.jobs.schedule.slots),
        "jobs_waiting": len(service.jobs.schedule.queue),
        "offers_open": len(service.offers),
        "memory_lent_bytes": service.jobs.schedule.slots.total.memory_bytes,
        "memory_taken_bytes": service.jobs.schedule.slots.total.memory_bytes
        - service.jobs.schedule.slots.free.memory_bytes,
        "memory_idle_bytes": service.node.executor.idle_bytes,
        "queue_oldest_seconds": service.jobs.oldest_waiting_s(),
        "job_bytes": service.store.job_bytes,
        "start_time_seconds": parts.started_at,
        _BUILD: 1,
        **_disk(service.store.directory),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        **service.counters.series,
    }
    told = [network.metrics for network in parts.networks.values()]
    told += [directory.metrics for directory in parts.directories.values()]
    for metrics in told:
        for name, value in metrics.items():
            values[name] = values.get(name, 0) + value
    return values


def _disk(state: Path) -> dict[str, float]:
    """Return the free bytes on the file system of the state directory; empty if unknown."""
    try:
        found = shutil.disk_usage(state)
    except OSError:
        return {}
    return {"state_free_bytes": found.free, "state_size_bytes": found.total}


def tell_metrics(parts: Parts) -> StreamHandler:
    """Return the stream handler that answers with the metrics page."""
    return answering(lambda: render(measure(parts), HELP).encode())


async def log_metrics(parts: Parts) -> None:
    """Log every series from time to time, if the log level includes it. Does not return."""
    while True:
        await trio.sleep(LOG_S)
        if log.isEnabledFor(logging.DEBUG):
            values = measure(parts)
            names = sorted(values)
            log.debug("counters " + " ".join(f"{name}=%g" for name in names), *map(values.get, names))
