"""The routes about the daemon and the network, and those that a monitoring system asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.client.async_client import AsyncClient
from plasm_core.client.daemon_health import ask_health
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.diagnostics import FAILURE, Check
from plasm_core.errors import PlasmError
from plasm_core.metrics import Counters, render
from plasm_core.protocol import HEALTH_PROTOCOL, METRICS_PROTOCOL
from plasm_core.records import Envelope
from plasm_core.records.capabilities import CapabilityRecord
from plasm_core.records.converter import unstructure
from plasm_core.version import __version__
from plasm_core.web.api_operations import OPENMETRICS_TYPE
from plasm_core.web.bearer_tokens import READ
from plasm_core.web.guard import token_of
from plasm_core.web.peer_search import PeerSearch
from plasm_core.web.problems import ApiProblem

READY_S = 5.0


@attrs.frozen(kw_only=True)
class NodeRoutes:
    """The routes about the daemon."""

    client: AsyncClient
    settings: Config
    counters: Counters
    search: PeerSearch

    @property
    def routes(self) -> list[Route]:
        """All of them, for a router."""
        return [
            Route("/v1/node", self.node, methods=["GET"]),
            Route("/v1/peers", self.peers, methods=["GET"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def node(self, request: Request) -> Response:
        """Show the daemon and its health (`GET /v1/node`)."""
        token_of(request, READ)
        answer: dict[str, Any] = {"version": __version__}
        try:
            checks = await ask_health(self.settings)
            envelope = Envelope.from_json(await self.client.capabilities(timeout_s=READY_S))
            record = CapabilityRecord.from_json(envelope.payload)
            answer["peerId"], answer["capabilities"] = record.peer, unstructure(record)
        except PlasmError as exc:
            checks = [Check(name="daemon", status=FAILURE, found=str(exc), hint=exc.hint)]
        answer["checks"] = [
            {name: value for name, value in attrs.asdict(check).items() if value is not None}
            for check in checks
        ]
        return JSONResponse(answer)

    async def peers(self, request: Request) -> Response:
        """Search the network for nodes, the best first (`GET /v1/peers`)."""
        token_of(request, READ)
        found = await self.search.peers()
        return JSONResponse({"peers": found or [], "network": found is not None})

    async def health(self, _request: Request) -> Response:
        """Answer that this server works (`GET /healthz`)."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Answer whether the daemon answers (`GET /readyz`)."""
        try:
            await ask(self.settings, HEALTH_PROTOCOL, grace_s=0)
        except PlasmError as exc:
            raise ApiProblem(
                503, "node_unreachable", "the daemon does not answer", hint="start one with: plasmd --detach"
            ) from exc
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Send the counters of this server and of the daemon, as OpenMetrics text (`GET /metrics`)."""
        token_of(request, READ)
        pages = [render({**self.counters.series}, HELP)]
        try:
            pages.append((await ask(self.settings, METRICS_PROTOCOL, grace_s=0)).decode("utf-8", "replace"))
        except PlasmError:
            pages.append("# TYPE plasm_web_daemon_up gauge\nplasm_web_daemon_up 0\n")
        return Response(
            openmetrics(pages), headers={"Content-Type": f"{OPENMETRICS_TYPE}; version=1.0.0; charset=utf-8"}
        )


HELP = {
    "web_requests_total": "Requests by method and status class.",
    "web_answered_bytes_total": "Bytes of bodies sent.",
    "web_requests_open": "Requests that are being served.",
    "webhooks_total": "Attempts to tell a URL of a job's end, by result.",
}


class _Pages:
    """What prometheus_client takes for a registry: the metrics of pages in the Prometheus text format."""

    def __init__(self, pages: Sequence[str]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all pages."""
        for page in self._pages:
            yield from text_string_to_metric_families(page)


def openmetrics(pages: Sequence[str]) -> bytes:
    """Return pages in the Prometheus text format as one in OpenMetrics'."""
    page: bytes = generate_latest(_Pages(pages))  # type: ignore[no-untyped-call]
    return page
