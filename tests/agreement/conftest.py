"""One node for all the tests, whose workers stay warm, and which works on every processor there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from plasm_core.node import Node
from tests.agreement.engines import configuration, missing
from tests.agreement.vectors import Observed, Vector, run


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("agreement")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STATE", "CACHE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
            patch.delenv(f"{name}_DIRECTORY", raising=False)
        with Node(configuration()) as made:
            yield made


Runs = dict[tuple[str, str], "Future[Observed]"]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, node: Node) -> Iterator[Runs]:
    """What each engine makes of each task, by their names, for the tests that were chosen: all are begun at once."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        begun: Runs = {}
        for item in request.session.items:
            params = (
                item.callspec.params
                if isinstance(item, pytest.Function) and hasattr(item, "callspec")
                else {}
            )
            engine, vector = params.get("engine"), params.get("vector")
            if isinstance(engine, str) and isinstance(vector, Vector) and not missing(engine):
                begun[engine, vector.task.name] = executor.submit(
                    run, node, node.runtime(engine), vector.task
                )
        yield begun
        executor.shutdown(cancel_futures=True)


def skip_if_missing(engine: str) -> None:
    """Skip a test of an engine that is not installed here, and say why it is not."""
    if reason := missing(engine):
        pytest.skip(reason)
