"""A small network of real daemons on the loopback interface: a bootstrap, a worker, a gateway."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

REPOSITORY = Path(__file__).parents[2]
HELLO = REPOSITORY / "examples" / "hello" / "hello.wasm"
LABORATORY = ("--set", "discovery.kademlia.allow_private=true")
NETWORKED = (
    *("--transport", "libp2p", "--set", 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]'),
    *LABORATORY,
)

Starter = Callable[..., Daemon]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("libp2p") is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(
                    pytest.mark.skip(reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
                )


def network(number: int) -> tuple[str, ...]:
    """Return the options of a node in a /24 of its own, of those that loopback has on Linux."""
    return ("--set", f'transport.libp2p.listen=["/ip4/127.0.{number}.1/tcp/0"]')


def address_of(daemon: Daemon) -> str:
    """Return where a daemon that has started is reached over libp2p."""
    found = re.findall(r"listening transport=libp2p addresses=([^\s,]+)", daemon.log.read_text())
    return str(found[-1])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start a node of the network, which ends with the module's tests."""
    with ExitStack() as stack:

        def started(name: str, *arguments: str) -> Daemon:
            home = tmp_path_factory.mktemp(name)
            daemon = stack.enter_context(Daemon(home, *NETWORKED, *arguments))
            daemon.start(until=" ready peer=")
            return daemon

        yield started


@pytest.fixture(scope="module")
def bootstrap(start: Starter) -> str:
    """The address of a node that everybody begins at, and that runs no strangers' jobs."""
    return address_of(start("bootstrap"))


@pytest.fixture(scope="module")
def worker(start: Starter, bootstrap: str) -> Daemon:
    """A node that lends."""
    return start("worker", "--lend", "--bootstrap", bootstrap)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Daemon]:
    """Directories of a user without a daemon."""
    with Daemon(tmp_path) as absent:
        yield absent
