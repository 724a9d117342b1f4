"""Set up a store in a fresh directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.daemon.store import Store
from tests.daemon.store.submission import LIMITS, Clock


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory."""
    return tmp_path / "state"


@pytest.fixture
def store(state: Path, clock: Clock) -> Iterator[Store]:
    """A store that has recovered."""
    with Store(state, LIMITS, clock=clock) as made:
        made.recover()
        yield made
