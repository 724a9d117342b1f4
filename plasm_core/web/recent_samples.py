"""The last hour of the daemon: samples of its counters, which the page plots."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs
import trio
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.errors import PlasmError
from plasm_core.protocol import METRICS_PROTOCOL
from plasm_core.web.bearer_tokens import READ
from plasm_core.web.guard import token_of
from plasm_core.web.job_json import moment

log = logging.getLogger(__name__)

STEP_S = 10.0
SAMPLES = 360
"""An hour of them."""

_GAUGES = {"plasm_jobs_waiting": "waiting", "plasm_jobs_running": "running"}
_ENDED = {
    "exited": "exited",
    "trapped": "failed",
    "out_of_gas": "failed",
    "output_limit": "failed",
    "timed_out": "claimed",
    "cancelled": "claimed",
    "system_error": "claimed",
}
"""The outcome of a job → what the history counts it as."""


def sample_of(page: str, now: datetime) -> dict[str, Any]:
    """Return a sample from the daemon's metrics in the Prometheus text format. Raises: ValueError."""
    found: dict[str, Any] = {"at": moment(now), **dict.fromkeys(("waiting", "running", "ended", "gas"), 0)}
    found |= dict.fromkeys(_ENDED.values(), 0)
    for family in text_string_to_metric_families(page):
        for item in family.samples:
            if item.name in _GAUGES:
                found[_GAUGES[item.name]] = int(item.value)
            elif item.name == "plasm_job_gas_total":
                found["gas"] = int(item.value)
            elif item.name == "plasm_jobs_ended_total":
                found["ended"] += int(item.value)
                _count(found, item.labels, int(item.value))
    return found


def _count(found: dict[str, Any], labels: Mapping[str, str], value: int) -> None:
    name = _ENDED.get(labels.get("outcome", ""))
    if name is not None:
        found[name] += value


@attrs.define
class RecentSamples:
    """Samples the daemon's counters while the server runs."""

    settings: Config
    _samples: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=SAMPLES))

    @property
    def routes(self) -> list[Route]:
        """The route that shows them, for a router."""
        return [Route("/v1/node/history", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """Show the daemon's counters over the last hour, or since this server's start.

        `GET /v1/node/history`.
        """
        token_of(request, READ)
        return JSONResponse({"stepS": STEP_S, "samples": list(self._samples)})

    async def run(self) -> None:
        """Take a sample from time to time. Does not return."""
        while True:
            await self.sample()
            await trio.sleep(STEP_S)

    async def sample(self) -> None:
        """Take a sample, unless the daemon does not answer: the history then has a gap."""
        try:
            page = (await ask(self.settings, METRICS_PROTOCOL, grace_s=0)).decode("utf-8", "replace")
            self._samples.append(sample_of(page, datetime.now(timezone.utc)))
        except (PlasmError, ValueError) as exc:
            log.debug("no sample reason=%s", exc)
