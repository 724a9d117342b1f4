"""A daemon and a web server for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.conftest import node_modules as node_modules
from tests.support.daemon import Daemon
from tests.support.web_server import WebServer

for needed in ("hypercorn", "starlette", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason="the extra web is not installed")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that all tests of a module share."""
    with Daemon(tmp_path_factory.mktemp("web")) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def web(daemon: Daemon) -> Iterator[WebServer]:
    """A web server that all tests of a module share."""
    with WebServer(daemon) as made:
        yield made.start()
