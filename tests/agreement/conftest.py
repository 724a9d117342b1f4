"""One node for all the tests, whose workers stay warm, and which works on every processor there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from plasm_core.node import Node
from tests.agreement.engines import configuration, missing
from tests.agreement.vectors import Observed, Vector, run


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("agreement")
    with Node(configuration()) as made:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("STATE", "CACHE"):
                patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
                patch.delenv(f"{name}_DIRECTORY", raising=False)
            made.admission()  # it finds the directories now, and keeps to them
        yield made


Runs = dict[tuple[str, str], "Future[Observed]"]
"""What each engine makes of each task, by their names."""


def _chosen(items: list[pytest.Item]) -> Iterator[tuple[str, Vector]]:
    """Return the engine and the vector of each test that will run."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and {"engine", "vector"} <= callspec.params.keys():
            yield callspec.params["engine"], callspec.params["vector"]


@pytest.fixture(scope="package")
def runs(request: pytest.FixtureRequest, node: Node) -> Iterator[Runs]:
    """Begin all runs that the chosen tests ask for, as many at once as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        yield {
            (engine, vector.task.name): executor.submit(run, node, node.runtime(engine), vector.task)
            for engine, vector in _chosen(request.session.items)
            if not missing(engine)
        }
        executor.shutdown(cancel_futures=True)


def skip_if_missing(engine: str) -> None:
    """Skip a test of an engine that is not installed here, and say why it is not."""
    if reason := missing(engine):
        pytest.skip(reason)
