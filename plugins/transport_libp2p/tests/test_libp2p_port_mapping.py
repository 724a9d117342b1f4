"""Keeping ports forwarded by whichever protocol a router speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing

from plasm_core.errors import TransportError
from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.addresses import Port
from plasm_transport_libp2p.nat.port_mapper import MappingResult, PortMappingProtocol
from plasm_transport_libp2p.nat.port_mapping import PortMapper

pytestmark = pytest.mark.trio

TCP, QUIC = ("tcp", 4001), ("quic", 4001)
RENEW_S = 450.0


class Fake(PortMappingProtocol):
    """A forwarder whose router refuses what it is told to, and forwards the rest from the port above."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.refused: set[Port] = set()
        self.silent = False
        self.asked: list[tuple[float, dict[Port, int]]] = []
        self.forgotten = trio.Event()
        self.released_at: float | None = None
        self.release_s = 0.0

    async def map(self, ports: Mapping[Port, int]) -> MappingResult:
        self.asked.append((trio.current_time(), dict(ports)))
        if self.silent:
            raise TransportError("the router does not answer")
        found = [
            PortMapping(
                carrier=port[0],
                port=port[1],
                external_ip=IPv4Address("11.0.0.1"),
                external_port=wanted if wanted != port[1] else wanted + 1,
                way=self.name,
            )
            for port, wanted in ports.items()
            if port not in self.refused
        ]
        refusals = tuple(f"{port[0]} {port[1]}: no" for port in ports if port in self.refused)
        return MappingResult(mappings=tuple(found), refusals=refusals, renew_s=RENEW_S)

    async def until_forgotten(self) -> None:
        await self.forgotten.wait()
        self.forgotten = trio.Event()

    async def release(self) -> None:
        await trio.sleep(self.release_s)
        self.released_at = trio.current_time()


class Kept:
    """A mapper at work, and the news of it."""

    def __init__(self, *ports: Port) -> None:
        self.first, self.second = Fake("one"), Fake("other")
        self.news = 0
        self.mapper = PortMapper(lambda: ports, self._hear, (self.first, self.second))

    def _hear(self) -> None:
        self.news += 1

    def ways(self) -> dict[Port, str]:
        return {(item.carrier, item.port): item.way for item in self.mapper.mappings}


@asynccontextmanager
async def running(kept: Kept) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.mapper.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_a_port_is_forwarded_once_by_the_first_that_can(autojump_clock: trio.testing.MockClock) -> None:
    kept = Kept(TCP, QUIC)
    async with running(kept):
        assert kept.ways() == {TCP: "one", QUIC: "one"}
        assert kept.second.asked == []
        assert kept.news == 1


async def test_a_mapping_refused_by_one_protocol_is_requested_by_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP, QUIC)
    kept.first.refused = {QUIC}
    async with running(kept):
        assert kept.ways() == {TCP: "one", QUIC: "other"}
        assert kept.second.asked == [(0.0, {QUIC: 4001})]
        assert kept.mapper.failures == ()


async def test_the_reason_why_a_port_is_not_forwarded_is_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP, QUIC)
    kept.first.silent = True
    kept.second.refused = {QUIC}
    async with running(kept):
        assert kept.ways() == {TCP: "other"}
        assert kept.mapper.failures == ("one: the router does not answer", "other: quic 4001: no")


async def test_a_mapping_is_renewed_only_by_its_own_protocol_with_its_port(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The other would forward the same port a second time."""
    kept = Kept(TCP)
    kept.first.silent = True
    async with running(kept):
        assert kept.ways() == {TCP: "other"}
        kept.first.silent = False

        await trio.sleep(2 * RENEW_S + 1)

        assert kept.second.asked == [(0.0, {TCP: 4001}), (RENEW_S, {TCP: 4002}), (2 * RENEW_S, {TCP: 4002})]
        assert len(kept.first.asked) == 1
        assert kept.news == 1


async def test_a_mapping_not_renewed_by_one_protocol_is_requested_by_the_other_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP)
    async with running(kept):
        kept.first.silent = True

        await trio.sleep(RENEW_S + 1)

        assert kept.ways() == {TCP: "other"}
        assert kept.second.asked == [(RENEW_S, {TCP: 4001})]


async def test_a_router_that_refuses_is_asked_again_less_and_less_often(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP)
    kept.first.silent = kept.second.silent = True
    async with running(kept):
        await trio.sleep(3000)

        assert [at for at, _ in kept.first.asked] == [0, 30, 90, 210, 450, 930, 1830, 2730]
        assert kept.news == 0


async def test_a_router_that_has_forgotten_is_asked_at_once(autojump_clock: trio.testing.MockClock) -> None:
    kept = Kept(TCP)
    async with running(kept):
        await trio.sleep(100)
        kept.first.forgotten.set()
        await trio.sleep(1)

        assert [at for at, _ in kept.first.asked] == [0, 100]


async def test_other_addresses_have_the_router_asked_at_once(autojump_clock: trio.testing.MockClock) -> None:
    kept = Kept(TCP)
    async with running(kept):
        await trio.sleep(100)
        kept.mapper.renew()
        await trio.sleep(1)

        assert [at for at, _ in kept.first.asked] == [0, 100]


async def test_a_mapping_in_doubt_is_renewed_when_the_router_has_had_time_to_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP)
    async with running(kept):
        await trio.sleep(100)
        kept.mapper.check()
        await trio.sleep(20)

        assert [at for at, _ in kept.first.asked] == [0, 110]


async def test_a_router_is_not_asked_without_a_port_to_forward(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept()
    async with running(kept):
        await trio.sleep(3000)

        assert kept.first.asked == kept.second.asked == []


async def test_everything_is_given_back_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    kept = Kept(TCP)
    async with running(kept):
        kept.first.release_s = 2.0

    assert kept.first.released_at == 2.0
    assert kept.second.released_at == 0.0
    assert kept.mapper.mappings == ()


async def test_a_router_that_does_not_answer_holds_up_the_end_but_briefly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept = Kept(TCP)
    async with running(kept):
        kept.first.release_s = 1000.0

    assert trio.current_time() == 3.0
