"""A client's streams between its conversations: used again, and replaced when the daemon has closed them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from plasm_core.client import AsyncClient, Submission, open_client
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.daemon.session import KEEP_S
from plasm_core.errors import RefusedError
from plasm_core.protocol import METRICS_PROTOCOL
from tests.support.daemon import Daemon
from tests.support.sweeping import HELLO


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path) as started:
        started.start()
        monkeypatch.setenv("PLASM_SOCKET", str(started.socket))
        yield started


async def run(client: AsyncClient) -> bytes:
    with Submission.of(HELLO.read_bytes(), stdin=b"abc") as job:
        return (await client.run(job, timeout_s=60)).stdout


async def sessions() -> int:
    """Return how many streams of the job protocol the daemon has served."""
    found = re.search(rb"sessions_total ([0-9]+)", await ask(Config(), METRICS_PROTOCOL))
    return int(found[1]) if found else 0


@pytest.mark.usefixtures("daemon")
def test_conversations_one_after_the_other_share_a_stream() -> None:
    async def main() -> tuple[list[bytes], int, int]:
        async with open_client() as client:
            outputs = [await run(client), await run(client)]
            with Submission.of(HELLO.read_bytes(), stdin=b"abc") as job:
                handle = await client.submit(job)
            outputs.append((await client.result(handle)).stdout)
            await client.status(handle)
            return outputs, len(client.dialler.kept), await sessions()

    outputs, kept, served = trio.run(main)

    assert len(set(outputs)) == 1
    assert (kept, served) == (1, 1)


@pytest.mark.usefixtures("daemon")
def test_concurrent_conversations_have_a_stream_each() -> None:
    async def main() -> tuple[int, int]:
        async with open_client() as client:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(5):
                        nursery.start_soon(run, client)
            return len(client.dialler.kept), await sessions()

    kept, served = trio.run(main)

    assert kept == served
    assert served <= 5


def test_a_stream_that_a_restart_has_ended_is_replaced(daemon: Daemon) -> None:
    """Without a pause, and without a word: nothing was sent on it."""
    told = []

    async def main() -> tuple[bytes, bytes]:
        async with open_client() as client:
            before = await run(client)
            await trio.to_thread.run_sync(daemon.kill)
            await trio.to_thread.run_sync(daemon.start)
            with Submission.of(HELLO.read_bytes(), stdin=b"abc") as job:
                after = await client.run(job, timeout_s=60, watch=lambda what, _status: told.append(what))
            return before, after.stdout

    before, after = trio.run(main)

    assert before == after
    assert not [what for what in told if "again" in what]


def test_several_streams_that_a_restart_has_ended_are_replaced_at_the_same_moment(daemon: Daemon) -> None:
    """While one conversation closes a dead stream, others find, close and replace the rest."""

    async def together(client: AsyncClient) -> list[bytes]:
        outputs: list[bytes] = []

        async def one() -> None:
            outputs.append(await run(client))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        return outputs

    async def main() -> tuple[list[bytes], int]:
        async with open_client() as client:
            outputs = await together(client)
            kept = len(client.dialler.kept)
            await trio.to_thread.run_sync(daemon.kill)
            await trio.to_thread.run_sync(daemon.start)
            return outputs + await together(client), kept

    outputs, kept = trio.run(main)

    assert kept > 1
    assert len(outputs) == 10
    assert len(set(outputs)) == 1


@pytest.mark.usefixtures("daemon")
def test_a_stream_is_not_kept_after_a_refusal() -> None:
    """The node closes it: bytes of the upload may be on their way."""

    async def main() -> int:
        async with open_client() as client:
            with (
                Submission.of(HELLO.read_bytes(), wall_time_s=86_400) as job,
                pytest.raises(RefusedError, match="wall"),
            ):
                await client.run(job, timeout_s=60)
            return len(client.dialler.kept)

    assert trio.run(main) == 0


@pytest.mark.usefixtures("daemon")
def test_a_stream_is_not_kept_that_was_left_before_all_was_said() -> None:
    async def main() -> int:
        async with open_client() as client:
            with Submission.of(HELLO.read_bytes(), stdin=b"abc") as job:
                handle = await client.submit(job)
            await client.wait(handle)  # it gives no credit for the output, so that no result comes
            return len(client.dialler.kept)

    assert trio.run(main) == 0


@pytest.mark.usefixtures("daemon")
def test_a_client_closes_a_stream_that_it_does_not_use() -> None:
    async def main() -> int:
        async with open_client() as client:
            await run(client)
            with trio.fail_after(10 * KEEP_S):
                while len(client.dialler.kept):  # noqa: ASYNC110 - the client's own clock ends it
                    await trio.sleep(0.05)
            return await sessions()

    assert trio.run(main) == 1
