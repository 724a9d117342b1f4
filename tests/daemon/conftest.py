"""A daemon for the tests of one module, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

REPOSITORY = Path(__file__).parents[2]
HELLO = REPOSITORY / "examples" / "hello" / "hello.wasm"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that all tests of a module share."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as made:
        made.start()
        yield made
