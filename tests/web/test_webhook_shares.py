"""One token's webhooks leave room for those of others, whatever its receivers do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import trio

from plasm_core.client.async_client import AsyncClient
from plasm_core.records import JobInput, Limits, PeerId, manifest_for
from plasm_core.web.job_json import lost
from plasm_core.web.job_table import WebJobTable
from plasm_core.web.web_jobs import WebJobs
from plasm_core.web.webhook_delivery import Allowed
from plasm_core.web.webhooks import Webhooks

NODE = PeerId(bytes([7]) * 32)
LIMITS = Limits(gas=1, memory_bytes=1 << 16, output_bytes=1)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebJobTable]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = WebJobTable(tmp_path / "web")
    yield made
    made.close()


def add(table: WebJobTable, owner: str, count: int, *, port: int = 1, has_ended: bool = True) -> None:
    """Add jobs of a token, whose ends are to be told to a URL that has the token's name."""
    for number in range(count):
        manifest = manifest_for(f"{owner} {number}".encode(), JobInput(), limits=LIMITS)
        job, _ = table.add(owner, manifest.to_json(), "job", f"http://localhost:{port}/{owner}")
        job = table.placed(job, NODE)
        if has_ended:
            table.ended(job, lost(), None)


async def told_of(table: WebJobTable, hanging: dict[str, int], waited_for: str) -> Counter[str]:
    """Deliver to a receiver that answers one token only. Return how often each was told until that one was."""
    asked: Counter[str] = Counter()
    answered = trio.Event()

    async def receive(stream: trio.SocketStream) -> None:
        async with stream:
            owner = (await stream.receive_some()).split()[1].decode().strip("/")
            asked[owner] += 1
            if owner == waited_for:
                await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                answered.set()
            await trio.sleep_forever()

    webhooks = Webhooks(
        WebJobs(cast(AsyncClient, None), table), table, Allowed(hosts=("localhost",), private=True)
    )
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, receive, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        for owner, count in hanging.items():
            add(table, owner, count, port=port)
        nursery.start_soon(webhooks.run)
        with trio.fail_after(60):
            while sum(asked.values()) < min(8, sum(hanging.values())):  # noqa: ASYNC110 - the receiver counts
                await trio.sleep(0.01)
            add(table, waited_for, 1, port=port)
            webhooks._due.set()
            await answered.wait()
        nursery.cancel_scope.cancel()
    return asked


@pytest.mark.trio
@pytest.mark.parametrize("hanging", [{"slow": 1}, {"slow": 40}, {"slow": 40, "slower": 40}])
async def test_receivers_that_do_not_answer_hold_up_no_others(
    table: WebJobTable, hanging: dict[str, int]
) -> None:
    """They had all sixteen attempts that go on at once, and the next sixty."""
    asked = await told_of(table, hanging, "quick")

    assert asked["quick"] == 1
    assert all(asked[owner] <= 8 for owner in hanging)
    assert sum(asked.values()) <= 16


@pytest.mark.parametrize("count", [1, 5, 30])
def test_the_ends_of_all_tokens_are_looked_for(table: WebJobTable, count: int) -> None:
    """A thousand jobs are asked about: those of one token could be all of them."""
    add(table, "many", 30, has_ended=False)
    add(table, "few", count, has_ended=False)

    looked_at = Counter(job.owner for job in table.awaited(limit=10))

    assert looked_at == Counter({"few": min(count, 5), "many": 10 - min(count, 5)})


@pytest.mark.parametrize("count", [1, 5, 30])
def test_due_deliveries_alternate_between_tokens(table: WebJobTable, count: int) -> None:
    add(table, "many", 30)
    add(table, "few", count)

    found = [owner for _, owner in table.due_webhooks(1e12, 10)]

    assert found.count("few") == min(count, 5)
    assert len(set(table.due_webhooks(1e12, 100))) == 30 + count
