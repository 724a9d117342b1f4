"""A daemon runs reactors: the export that a job names, called as on this machine."""

from __future__ import annotations

import pytest

from plasm_core.client import Client
from plasm_core.errors import RefusedError
from plasm_core.testing.bench import module_named
from tests.support.daemon import Daemon

ENTRIES = module_named("entry")


@pytest.fixture(autouse=True)
def _here(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library find the daemon."""
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))


def test_a_daemon_calls_the_entry_of_each_job(daemon: Daemon) -> None:
    """Two jobs of one module with two entries are two programs in its cache."""
    for entry, stdout in (("returns", b"sie"), ("nothing", b"si"), ("returns", b"sie")):
        result = Client().run(ENTRIES, entry=entry, timeout_s=60)

        assert result.stdout == stdout
        assert result.receipt.asked.entry == entry


def test_a_daemon_refuses_an_entry_that_is_not_there(daemon: Daemon) -> None:
    with pytest.raises(RefusedError) as caught:
        Client().run(ENTRIES, entry="none", timeout_s=60)

    assert caught.value.reason == "no_entry"
