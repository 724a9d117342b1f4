"""The ASGI application: the API's routes, the page, and errors as problems."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from plasm_core.client.async_client import AsyncClient
from plasm_core.config import Config
from plasm_core.errors import PlasmError
from plasm_core.metrics import Counters
from plasm_core.web.batch_file_routes import BatchFileRoutes
from plasm_core.web.batch_routes import BatchRoutes
from plasm_core.web.bearer_tokens import BearerTokens
from plasm_core.web.file_routes import FileRoutes
from plasm_core.web.guard import PAGE_POLICY, Access, Guard
from plasm_core.web.job_watch import JobWatch
from plasm_core.web.node_routes import NodeRoutes
from plasm_core.web.peer_search import PeerSearch
from plasm_core.web.problems import ApiProblem, problem_of
from plasm_core.web.recent_samples import RecentSamples
from plasm_core.web.reception import Reception
from plasm_core.web.routes import JobRoutes, serve_document
from plasm_core.web.web_batches import WebBatches
from plasm_core.web.web_jobs import WebJobs
from plasm_core.web.webhook_delivery import Allowed

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
"""The files that the page may consist of: others are not served."""


@attrs.frozen(kw_only=True)
class WebParts:
    """What the routes use."""

    client: AsyncClient
    jobs: WebJobs
    batches: WebBatches
    watch: JobWatch
    history: RecentSamples
    settings: Config
    allowed: Allowed = attrs.field(factory=Allowed)
    counters: Counters = attrs.field(factory=Counters)


def application(parts: WebParts, tokens: BearerTokens, access: Access) -> Guard:
    """Return the ASGI application of `plasm web`: the guard around the API's routes and the page."""
    app = Starlette(
        routes=[*api_routes(parts), *page_routes(STATIC)],
        exception_handlers={
            HTTPException: _http_problem,
            PlasmError: _plasm_problem,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, access, tokens, parts.counters)


def api_routes(parts: WebParts) -> list[Route]:
    """Return the routes of the API: those of the OpenAPI document."""
    reception = Reception(jobs=parts.jobs)
    return [
        *JobRoutes(
            jobs=parts.jobs,
            watch=parts.watch,
            settings=parts.settings,
            allowed=parts.allowed,
            reception=reception,
        ).routes,
        *FileRoutes(jobs=parts.jobs).routes,
        *BatchRoutes(batches=parts.batches, settings=parts.settings, reception=reception).routes,
        *BatchFileRoutes(batches=parts.batches).routes,
        *NodeRoutes(
            client=parts.client,
            settings=parts.settings,
            counters=parts.counters,
            search=PeerSearch(parts.settings),
        ).routes,
        *parts.history.routes,
        Route("/v1/openapi.json", serve_document, methods=["GET"]),
    ]


def page_routes(directory: Path) -> list[Route]:
    """Return a route for each file of the page. They are listed once: no request names a path on the disk."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix in _TYPES)
    routes = []
    for path in files:
        place = path.relative_to(directory).as_posix()
        serve = _serving(path)
        routes.append(Route(f"/{place}", serve, methods=["GET"]))
        if posixpath.basename(place) == "index.html":
            routes.append(Route(f"/{place.removesuffix('index.html')}", serve, methods=["GET"]))
    if not any(route.path == "/" for route in routes):
        routes.append(Route("/", lambda _: RedirectResponse("/v1/openapi.json", 307), methods=["GET"]))
    return routes


def _serving(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_request: Request) -> Response:
        headers = {
            "Content-Type": _TYPES[path.suffix],
            "Content-Security-Policy": PAGE_POLICY,
            "Cache-Control": "no-cache",
        }
        return FileResponse(path, headers=headers)

    return serve


async def _http_problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    codes = {
        404: ("not_found", "there is no such path"),
        405: ("method_not_allowed", "the path has no such method"),
    }
    code, detail = codes.get(exc.status_code, ("bad_request", str(exc.detail)))
    return ApiProblem(exc.status_code, code, detail, headers=exc.headers).response()


async def _plasm_problem(_request: Request, exc: Exception) -> Response:
    problem = problem_of(exc)
    if problem.status >= 500:
        log.warning("request failed code=%s reason=%s", problem.code, exc)
    return problem.response()
