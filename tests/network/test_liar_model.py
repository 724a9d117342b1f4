"""The model of liars in short: a few jobs among seven nodes that lie, of seven kinds (`tests/network/liars.py`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.network.liars import BY, MIXED, Scene, lying_network, measure

JOBS = 4


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three honest nodes, which are far away, and seven liars."""
    with lying_network(tmp_path_factory.mktemp("liars"), MIXED) as made:
        yield made


@pytest.mark.parametrize("by", BY)
def test_jobs_end_rightly_although_most_nodes_lie(
    scene: Scene, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client meets liars first: in the directory, when it asks who takes a job, and when one has taken it."""
    if by == "PHP" and shutil.which("php") is None:
        pytest.skip("PHP is not installed")
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(scene.directory / f"state-{by}"))

    row = measure(scene, by, JOBS)

    assert (row.summary.done, row.problems) == (JOBS, {})
    assert row.met.total() > 0
