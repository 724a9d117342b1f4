"""A client that knows few nodes: those that answer too late for a search are found beside its jobs."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from plasm_core.background_tasks import alongside
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.node_search import ENOUGH
from tests.support.lying_node import Script
from tests.support.small_network import SmallNetwork

LATE = Script(told_after_s=2.0)


@pytest.mark.trio
@pytest.mark.parametrize("searches", [True, False])
async def test_a_node_that_answers_late_becomes_known(
    autojump_clock: trio.testing.MockClock, searches: bool
) -> None:
    """A gateway kept two of three nodes for as long as they did its jobs."""
    async with trio.open_nursery() as nursery:
        network = SmallNetwork(nursery, Script(), Script(), LATE)
        dialler = RemoteDialler(network, network)
        async with alongside(*([dialler.keep_enough] if searches else [])):
            first = await dialler.choose(None)
            await trio.sleep(60)
            then = await dialler.choose(None)
        nursery.cancel_scope.cancel()

    quick = {node.signer.peer_id for node in network.nodes[:2]}
    late = network.nodes[2].signer.peer_id
    assert {candidate.peer for candidate in first} == quick
    assert {candidate.peer for candidate in then} == (quick | {late} if searches else quick)


@pytest.mark.trio
async def test_a_node_that_joins_becomes_known_to_a_client_that_knows_enough(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two nodes had 5,600 jobs of a client, and one that had joined none."""
    async with trio.open_nursery() as nursery:
        network = SmallNetwork(nursery, *(Script() for _ in range(ENOUGH + 1)))
        joining = network.nodes.pop()
        dialler, known = RemoteDialler(network, network), []
        async with alongside(dialler.keep_enough):
            for minute in range(7):
                known.append({candidate.peer for candidate in await dialler.choose(None)})
                if minute == 0:
                    network.nodes.append(joining)
                await trio.sleep(60)
        nursery.cancel_scope.cancel()

    newcomer = joining.signer.peer_id
    assert len(known[0]) == ENOUGH
    assert newcomer not in known[1]
    assert newcomer in known[-1]


@pytest.mark.trio
async def test_a_client_without_jobs_sends_the_directory_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trio.open_nursery() as nursery:
        network = SmallNetwork(nursery, Script(), Script())
        dialler, searches, find = RemoteDialler(network, network), [], network.find

        def counted(capability: str, limit: int):  # type: ignore[no-untyped-def]
            searches.append(capability)
            return find(capability, limit)

        monkeypatch.setattr(network, "find", counted)
        async with alongside(dialler.keep_enough):
            await trio.sleep(300)
            assert not searches
            await dialler.choose(None)
            await trio.sleep(3600)
        nursery.cancel_scope.cancel()

    assert len(searches) == 2
