"""Whose jobs a node runs, and how much of it each client may have: sessions of strangers at a service."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core import config as configuration
from plasm_core.client import Submission, session
from plasm_core.client.connection import open_link
from plasm_core.config import Config
from plasm_core.daemon.service import Service, open_service
from plasm_core.daemon.session import Session
from plasm_core.daemon.store import Store
from plasm_core.errors import ConfigError, RefusedError, StreamError
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Stream
from plasm_core.records import Limits, PeerId
from tests.daemon.conftest import HELLO
from tests.support.wat import FOREVER, padded, starting

pytestmark = pytest.mark.trio

ALICE, BOB = (PeerId(bytes([number]) * 32) for number in (1, 2))


class Wire(Stream):
    """One end of a stream in memory, whose other end is somebody."""

    def __init__(self, stream: trio.abc.Stream, peer: PeerId | None, group: str) -> None:
        self._stream, self._peer, self._group = stream, peer, group

    @property
    def remote_peer(self) -> PeerId | None:
        return self._peer

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("gone") from exc

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("gone") from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def serving(homes: Path, *settings: str) -> AsyncIterator[Service]:
    """Run a service that lends."""
    config = configuration.load(settings=("policy.lend=true", "limits.cpu=2", *settings), environ={})
    with LocalNode(config) as node, Store(homes / "store", config.storage) as store:
        async with open_service(node, store) as service:
            yield service
            for track in list(service.jobs.tracks.values()):
                await service.cancel(track.job)


async def submit(service: Service, job: Submission, peer: PeerId | None, group: str = "there") -> None:
    """Hand a job in as somebody. Raises: `RefusedError`."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Session(service, Wire(theirs, peer, group)).serve)
            failure: RefusedError | None = None
            async with open_link(Wire(ours, service.peer, "node")) as link:
                try:
                    await session.submit(link, job, await session.greeted(link), follow=False)
                except RefusedError as exc:
                    failure = exc
    if failure is not None:
        raise failure


def hello(text: bytes = b"abc") -> Submission:
    return Submission.of(HELLO.read_bytes(), stdin=text)


def endless() -> Submission:
    limits = Limits(gas=10**15, memory_bytes=1 << 20, output_bytes=1 << 10)
    return Submission.of(starting(FOREVER), limits=limits, wall_time_s=600)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - the service tells nobody
            await trio.sleep(0.01)


async def test_a_denied_peer_is_refused_and_others_are_not(homes: Path) -> None:
    async with serving(homes, f'policy.deny=["{ALICE}"]') as service:
        with pytest.raises(RefusedError, match="does not run this client's jobs") as refused:
            await submit(service, hello(), ALICE)
        await submit(service, hello(), BOB)

    assert refused.value.reason == "policy"
    assert refused.value.retry_after_s is None


async def test_an_allow_list_refuses_all_other_peers(homes: Path) -> None:
    async with serving(homes, f'policy.allow=["{ALICE}"]') as service:
        with pytest.raises(RefusedError, match="does not run this client's jobs"):
            await submit(service, hello(), BOB)
        await submit(service, hello(), ALICE)
        await submit(service, hello(), None)


async def test_the_deny_list_overrides_the_allow_list(homes: Path) -> None:
    settings = (f'policy.allow=["{ALICE}"]', f'policy.deny=["{ALICE}"]')
    async with serving(homes, *settings) as service:
        with pytest.raises(RefusedError, match="does not run this client's jobs"):
            await submit(service, hello(), ALICE)


async def test_lists_are_read_again_while_the_daemon_runs(homes: Path) -> None:
    async with serving(homes) as service:
        await submit(service, hello(b"1"), ALICE)
        fresh = configuration.load(
            settings=("policy.lend=true", f'policy.deny=["{ALICE}"]', "clients.running=1"), environ={}
        )
        service.reconfigure(fresh)

        with pytest.raises(RefusedError, match="does not run this client's jobs"):
            await submit(service, hello(b"2"), ALICE)
        assert service.quotas.limits.running == 1


async def test_an_invalid_peer_is_named() -> None:
    with pytest.raises(ConfigError, match=r"policy\.deny"):
        configuration.load(settings=('policy.deny=["nobody"]',), environ={})
    assert Config().policy.deny == ()


async def test_a_client_over_its_upload_quota_gets_a_time_to_retry(homes: Path) -> None:
    """A resumed or known upload is not charged twice; a fresh key from the same place is charged all the same."""
    module = padded(HELLO.read_bytes(), 300_000)
    async with serving(homes, "clients.upload_bytes_per_hour=400000") as service:
        await submit(service, Submission.of(module, stdin=b"1"), ALICE)
        await submit(service, Submission.of(module, stdin=b"2"), ALICE)  # proved, not uploaded
        await submit(service, hello(bytes(150_000)), ALICE)
        with pytest.raises(RefusedError, match="has used up the bytes to upload") as refused:
            await submit(service, hello(), BOB)
        await submit(service, hello(), BOB, group="elsewhere")
        await submit(service, hello(), None)

    assert refused.value.reason == "policy"
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 3600


async def test_a_client_over_its_processor_time_gets_a_time_to_retry(homes: Path) -> None:
    spinning = Submission.of(
        starting(FOREVER), limits=Limits(gas=1_000_000_000, memory_bytes=1 << 20, output_bytes=1)
    )
    async with serving(homes, "clients.cpu_s_per_hour=1") as service:
        service.quotas.charge(service.owners.names(f"peer {ALICE}"), cpu_s=0.9)
        await submit(service, spinning, ALICE)
        await until(lambda: not service.jobs.tracks)
        with pytest.raises(RefusedError, match="has used up the processor time") as refused:
            await submit(service, hello(), ALICE)
        await submit(service, hello(), None)

    assert refused.value.retry_after_s is not None


@pytest.mark.parametrize("how", ["ended", "crashed"])
async def test_a_clients_usage_survives_a_restart(homes: Path, tmp_path: Path, how: str) -> None:
    """Otherwise a client that can end the daemon would get a fresh hour each time."""
    store = homes / "store"
    async with serving(
        homes, "clients.upload_bytes_per_hour=100000", "clients.cpu_s_per_hour=1000"
    ) as service:
        service.quotas.charge(service.owners.names(f"peer {BOB}"), cpu_s=1500)
        await submit(service, hello(bytes(100_000)), ALICE)
        await until(lambda: len({use.name for use in service.store.usage.all()}) == 3)
        shutil.copytree(store, tmp_path / "copy")
    if how == "crashed":
        shutil.rmtree(store)
        (tmp_path / "copy").rename(store)

    async with serving(
        homes, "clients.upload_bytes_per_hour=100000", "clients.cpu_s_per_hour=1000"
    ) as service:
        with pytest.raises(RefusedError, match="has used up the bytes to upload"):
            await submit(service, hello(), ALICE)
        with pytest.raises(RefusedError, match="has used up the processor time"):
            await submit(service, hello(), BOB, group="elsewhere")
        await submit(service, hello(), PeerId(bytes([3]) * 32), group="nowhere")
        await submit(service, hello(), None)


async def test_what_was_used_a_moment_before_the_end_is_kept(homes: Path) -> None:
    async with serving(homes, "clients.cpu_s_per_hour=1000") as service:
        names = service.owners.names(f"peer {ALICE}")
    async with serving(homes, "clients.cpu_s_per_hour=1000") as service:
        service.quotas.charge(names, cpu_s=1500)

    async with serving(homes, "clients.cpu_s_per_hour=1000") as service:
        with pytest.raises(RefusedError, match="has used up the processor time"):
            await submit(service, hello(), ALICE)


async def test_a_client_has_so_many_jobs_running_and_others_pass_it(homes: Path) -> None:
    async with serving(homes, "clients.running=1") as service:
        for _ in range(2):
            await submit(service, endless(), ALICE)
        await until(lambda: len(service.jobs.schedule.slots) == 1)
        assert len(service.jobs.schedule.queue) == 1
        await submit(service, hello(), BOB, group="elsewhere")
        await until(lambda: len(service.jobs.tracks) == 2)

        assert (len(service.jobs.schedule.slots), len(service.jobs.schedule.queue)) == (1, 1)
        running = next(track for track in service.jobs.tracks.values() if track.attempt is not None)
        await service.cancel(running.job)
        await until(lambda: len(service.jobs.schedule.slots) == 1 and len(service.jobs.schedule.queue) == 0)
