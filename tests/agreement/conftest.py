"""A node for each engine, whose workers stay warm from one test to the next; the engines work side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from plasm_core.local_node import LocalNode
from tests.agreement.engines import ENGINES, WINCH, configuration, missing, runtime_of
from tests.agreement.vectors import Observed, Vector, run


@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, LocalNode]]:
    """Nodes by the engines they are for. They share a cache: what is prepared for one may serve another."""
    home = tmp_path_factory.mktemp("agreement")
    with ExitStack() as stack:
        made = {engine: stack.enter_context(LocalNode(configuration())) for engine in (*ENGINES, WINCH)}
        with pytest.MonkeyPatch.context() as patch:
            for name in ("STATE", "CACHE"):
                patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
                patch.delenv(f"{name}_DIRECTORY", raising=False)
            for node in made.values():
                node.admission()  # it finds the directories now, and keeps to them
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
def runs(request: pytest.FixtureRequest, nodes: Mapping[str, LocalNode]) -> Iterator[Runs]:
    """Begin all runs that the chosen tests ask for, a few of each engine at once."""
    installed = [engine for engine in (*ENGINES, WINCH) if not missing(engine)]
    for engine in installed:
        runtime_of(nodes[engine], engine)  # loaded now, by one thread
    executors = {engine: ThreadPoolExecutor(2, engine) for engine in installed}
    with ExitStack() as stack:
        for executor in executors.values():
            stack.callback(executor.shutdown, cancel_futures=True)
        yield {
            (engine, vector.task.name): executors[engine].submit(run, nodes[engine], engine, vector.task)
            for engine, vector in _chosen(request.session.items)
            if engine in installed
        }


def skip_if_missing(engine: str) -> None:
    """Skip a test of an engine that is not installed here, and say why it is not."""
    if reason := missing(engine):
        pytest.skip(reason)
