"""Set up what all tests share: the import path, the Hypothesis profile, Ctrl-C, and homes of their own."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = str(Path(__file__).resolve().parent.parent)
# With --import-mode=importlib pytest leaves sys.path alone, and tests import from tests.support.
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# A shell ignores SIGINT in what it starts in the background, and commands under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines fail on a busy machine; in CI a failure must be the same one when run again.
settings.register_profile("plasm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("plasm")

_SLOW = ("network", "transport_libp2p", "daemon", "interop", "property", "docs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the slowest begin where several processes share the tests, so that none is left alone with them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    return next((rank for rank, name in enumerate(_SLOW) if name in path.parts), len(_SLOW))


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put state, cache and configuration under a fresh directory, and forget what the user has set."""
    for variable in (*os.environ, "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        if variable.startswith("PLASM_") or variable.endswith("_DIRECTORY"):
            monkeypatch.delenv(variable, raising=False)
    for name in ("state", "cache", "config"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    return tmp_path
