"""One timeout holds for a whole call, whatever waits it is made of.

Trio's time jumps here to the next moment that anything waits for, so minutes take none.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from plasm_core.client import AsyncClient
from plasm_core.client.deadline import Deadline
from plasm_core.client.fetched_files import FetchLimits
from plasm_core.client.file_fetch import FETCH_S
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.remote_files import list_files
from plasm_core.client.result_verification import Judge
from plasm_core.config import Config
from plasm_core.errors import WaitTimeoutError
from plasm_core.plugins.interfaces import Verifier
from plasm_signer_ed25519.verifier import SignatureVerifier
from plasm_verifier_quorum import QuorumVerifier
from tests.client.test_lying_files import HONEST, PRODUCTS, SERVED
from tests.client.test_lying_files import job as job_with_files
from tests.client.test_lying_nodes import job
from tests.support.lying_node import Script
from tests.support.small_network import Elapsed, SmallNetwork

pytestmark = pytest.mark.trio

TIMEOUT_S = 50.0
ONE_WAIT_S = 20.0
"""One wait alone is within the timeout, and three are not."""
A_MOMENT_S = 1.0
SLOW_FILES = attrs.evolve(
    HONEST, served={path: attrs.evolve(item, after_s=ONE_WAIT_S) for path, item in SERVED.items()}
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's threads' work done in the loop: trio's time would jump while one of them works."""

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


@asynccontextmanager
async def network(*scripts: Script, verifiers: tuple[Verifier, ...] = ()) -> AsyncIterator[AsyncClient]:
    async with trio.open_nursery() as nursery:
        groups = [f"network {number}" for number in range(len(scripts))]
        small = SmallNetwork(nursery, *scripts, groups=groups)
        with Judge([SignatureVerifier(), *verifiers], Config()) as judge:
            yield AsyncClient(RemoteDialler(small, small), judge)
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def given_up_in_time() -> Iterator[None]:
    """Expect a call to give up when its timeout is over, and no later."""
    elapsed = Elapsed()
    with pytest.raises(WaitTimeoutError):
        yield
    assert TIMEOUT_S <= elapsed.seconds <= TIMEOUT_S + A_MOMENT_S


async def test_a_result_and_each_of_its_files(autojump_clock: trio.testing.MockClock) -> None:
    with job_with_files() as submission:
        async with network(attrs.evolve(SLOW_FILES, after_s=ONE_WAIT_S)) as client:
            handle = await client.submit(submission)
            with given_up_in_time():
                await client.result(handle, timeout_s=TIMEOUT_S)


async def test_a_run_and_each_of_its_files(autojump_clock: trio.testing.MockClock) -> None:
    with job_with_files() as submission:
        async with network(attrs.evolve(SLOW_FILES, after_s=ONE_WAIT_S)) as client:
            with given_up_in_time():
                await client.run(submission, timeout_s=TIMEOUT_S)


async def test_a_listing_of_files(autojump_clock: trio.testing.MockClock) -> None:
    """It waits for two pieces of each listing."""
    twin = attrs.evolve(PRODUCTS[1], path="twin")
    with job_with_files() as submission:
        async with network(
            attrs.evolve(SLOW_FILES, served={**SLOW_FILES.served, "twin": SLOW_FILES.served["tree"]})
        ) as client:
            handle = await client.submit(submission)
            products = (PRODUCTS[1], twin)
            with given_up_in_time():
                await list_files(client.dialler, handle, products, FetchLimits(), Deadline(TIMEOUT_S))


async def test_a_run_on_several_nodes(autojump_clock: trio.testing.MockClock) -> None:
    slow = Script(after_s=ONE_WAIT_S)
    async with network(slow, slow, slow, slow, verifiers=(QuorumVerifier(),)) as client:
        with given_up_in_time():
            await client.run(job(), timeout_s=TIMEOUT_S)


async def test_a_run_on_several_nodes_that_may_wait(autojump_clock: trio.testing.MockClock) -> None:
    slow = Script(after_s=ONE_WAIT_S)
    async with network(slow, slow, slow, verifiers=(QuorumVerifier(),)) as client:
        found = await client.run(job(), timeout_s=10 * TIMEOUT_S)

        assert len(found.others) == 2


async def test_files_that_are_received_again_have_the_time_that_they_had_at_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first node's answer is false, so that the output and the files come from the second once more.

    Each file comes within the time of a file (`FETCH_S`), and all of them later than the output alone may.
    """
    paths = [f"file {number}" for number in range(4)]
    honest = attrs.evolve(
        HONEST,
        files=tuple(attrs.evolve(PRODUCTS[0], path=path) for path in paths),
        served={path: attrs.evolve(SERVED["file"], after_s=FETCH_S - 10) for path in paths},
    )
    liar = attrs.evolve(honest, output=b"an output that nobody has computed\n")
    with job_with_files(*paths) as submission:
        async with network(liar, honest, honest, honest, verifiers=(QuorumVerifier(),)) as client:
            found = await client.run(submission, timeout_s=float("inf"))

            assert len(found.others) == 1
            assert found.files.outputs == honest.files


async def test_a_deadline_is_what_is_left(autojump_clock: trio.testing.MockClock) -> None:
    deadline, never = Deadline(10), Deadline(None)
    await trio.sleep(4)

    assert deadline.left_s == 6
    assert (deadline.within_s(60), deadline.within_s(1)) == (6, 1)
    assert (never.left_s, never.within_s(60)) == (None, 60)
    await trio.sleep(7)
    assert deadline.left_s == 0


async def test_a_timeout_may_be_any_real_number(autojump_clock: trio.testing.MockClock) -> None:
    """Those of NumPy are no subclasses of int; a fraction stands for them here."""
    timeout_s: Any = Fraction(5, 2)

    assert Deadline(timeout_s).left_s == 2.5
