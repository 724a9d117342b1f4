"""The internet of one module's tests. Everything here is skipped where namespaces are not permitted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.internet import Internet, open_internet
from tests.lab.namespaces import missing


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip, with the reason, where there can be no laboratory."""
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def internet(permitted: None) -> Iterator[Internet]:
    """An internet with nobody on it yet."""
    with open_internet() as made:
        yield made
