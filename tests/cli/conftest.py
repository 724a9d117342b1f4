"""Set up what several integration tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from plasm_core.cli import main
from tests.support.cli import Done, Plasm


@pytest.fixture(scope="session")
def plasm(tmp_path_factory: pytest.TempPathFactory) -> Plasm:
    """The command with one key and one cache for all tests, none of which may depend on another."""
    return Plasm(tmp_path_factory.mktemp("home"))


@pytest.fixture
def stranger(tmp_path: Path) -> Plasm:
    """The command of a user who has nothing yet."""
    return Plasm(tmp_path / "stranger")


@pytest.fixture
def here(
    plasm: Plasm, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Done]:
    """The same command in this process: a process for each of a hundred small things would take a minute."""
    theirs = plasm.environment()
    for name in os.environ:
        if name not in theirs:
            monkeypatch.delenv(name)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, theirs[name])

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capfdbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, out, err.decode())

    return call
