"""Set up what several unit tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.distributions import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Put a fresh directory for distributions in front of the import path."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    made = Site(directory)
    yield made
    made.forget()
