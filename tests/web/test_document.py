"""The OpenAPI document names the routes that there are, and the server serves the document of docs/."""

from __future__ import annotations

import json

from starlette.routing import Route

from plasm_core.config import Config
from plasm_core.web.api_document import document
from plasm_core.web.application import WebParts, api_routes
from plasm_core.web.recent_samples import RecentSamples
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer


def test_the_document_has_the_routes_that_there_are() -> None:
    settings = Config()
    history = RecentSamples(settings)
    parts = WebParts(client=None, jobs=None, batches=None, watch=None, history=history, settings=settings)  # type: ignore[arg-type]  # no request is made
    served = {
        (route.path.replace(":guest}", "}"), method.lower())
        for route in api_routes(parts)
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }

    told = {(path, method) for path, item in document()["paths"].items() for method in item}
    assert served == told


def test_the_served_document_is_that_of_docs(web: WebServer) -> None:
    answer = web.ask("GET", "/v1/openapi.json", token=None)

    assert answer.json == json.loads((ROOT / "docs" / "openapi.json").read_text())
