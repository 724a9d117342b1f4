"""A router that is asked by NAT-PMP, and what it may answer."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing

from plasm_core.errors import StreamError, TransportError
from plasm_transport_libp2p.addresses import Port
from plasm_transport_libp2p.nat import natpmp_message as message
from plasm_transport_libp2p.nat.default_route import default_gateway
from plasm_transport_libp2p.nat.natpmp import NatPmp, RouterEpoch

DEADLINE_S = 20.0
TCP, QUIC = ("tcp", 4001), ("quic", 4001)
OUTSIDE = IPv4Address("11.0.0.1")
ADDRESS = bytes.fromhex("0080 0000 00000e10 0b000001")
MAPPING = bytes.fromhex("0082 0000 00000e10 0fa1 1771 00000708")


def test_requests_are_the_bytes_of_the_specification() -> None:
    assert message.ask_address() == bytes.fromhex("0000")
    assert message.ask_mapping(QUIC, 4001, 3600) == bytes.fromhex("0001 0000 0fa1 0fa1 00000e10")
    assert message.ask_mapping(TCP, 0, 0) == bytes.fromhex("0002 0000 0fa1 0000 00000000")


def test_answers_are_read() -> None:
    assert message.read_address(ADDRESS) == message.AddressAnswer(epoch_s=3600, address=OUTSIDE)
    assert message.read_mapping(MAPPING, TCP) == message.MappingAnswer(
        epoch_s=3600, external_port=6001, lifetime_s=1800
    )


@pytest.mark.parametrize("length", range(len(MAPPING)))
def test_a_truncated_answer_is_ignored(length: int) -> None:
    with pytest.raises(StreamError):
        message.read_mapping(MAPPING[:length], TCP)


@pytest.mark.parametrize(
    ("data", "port"),
    [
        (MAPPING + b"\0", TCP),
        (MAPPING, QUIC),
        (MAPPING, ("tcp", 4002)),
        (ADDRESS, TCP),
        (message.ask_mapping(TCP, 4001, 3600), TCP),
        (b"\0\2" + MAPPING[2:], TCP),
    ],
    ids=["too long", "of the other protocol", "about another port", "an address", "the request", "no answer"],
)
def test_an_answer_to_another_request_is_ignored(data: bytes, port: Port) -> None:
    with pytest.raises(StreamError):
        message.read_mapping(data, port)


@pytest.mark.parametrize(
    ("result", "words"),
    [(1, "version"), (2, "refuses"), (3, "no address"), (4, "no room"), (5, "not know"), (77, "code 77")],
)
@pytest.mark.parametrize("length", [4, 8, 16])
def test_even_a_short_refusal_is_reported_in_words(result: int, words: str, length: int) -> None:
    data = MAPPING[:2] + struct.pack("!H", result) + bytes(12)

    with pytest.raises(TransportError, match=words):
        message.read_mapping(data[:length], TCP)


def test_a_router_of_another_version_is_recognised() -> None:
    with pytest.raises(TransportError, match="version 2"):
        message.read_address(bytes.fromhex("0280 0001 00000000"))


@pytest.mark.parametrize(
    ("told_s", "seconds", "follows"),
    [
        (160, 60.0, True),
        (151, 60.0, True),
        (150, 60.0, False),
        (400, 60.0, True),
        (98, 0.0, True),
        (97, 0.0, False),
        (0, 60.0, False),
    ],
)
def test_a_router_whose_epoch_lags_has_restarted(told_s: int, seconds: float, follows: bool) -> None:
    epoch = RouterEpoch(told_s=100, read_at=1000.0)

    assert epoch.is_followed_by(told_s, 1000.0 + seconds) is follows


class Router:
    """A router on the loopback: its clock, the ports that it forwards, and what it says and others say for it."""

    def __init__(self, server: trio.socket.SocketType) -> None:
        self.server = server
        self.epoch_s = 1000
        self.forwarded: dict[int, tuple[int, int, int]] = {}
        self.requests: list[bytes] = []
        self.answers: Callable[[bytes], list[bytes]] = lambda request: [self.answer(request)]
        self.impostors: tuple[trio.socket.SocketType, ...] = ()
        self.lifetime_s: int | None = None
        self.external_port: int | None = None

    @property
    def port(self) -> int:
        port: int = self.server.getsockname()[1]
        return port

    def forwarder(self, watch_s: float = DEADLINE_S) -> NatPmp:
        return NatPmp(lambda: "127.0.0.1", self.port, watch_s)

    async def serve(self) -> None:
        while True:
            request, who = await self.server.recvfrom(64)
            self.requests.append(request)
            for impostor in self.impostors:
                await impostor.sendto(bytes((0, 128 + request[1], 0, 2)) + bytes(12), who)
            for answer in self.answers(request):
                await self.server.sendto(answer, who)

    def answer(self, request: bytes) -> bytes:
        opcode = request[1]
        head = struct.pack("!BBHI", 0, 128 + opcode, 0, self.epoch_s)
        if opcode == 0:
            return head + OUTSIDE.packed
        _, _, _, internal, external, lifetime_s = struct.unpack("!BBHHHI", request)
        if lifetime_s == 0:
            self.forwarded.pop(opcode, None)
            return head + struct.pack("!HHI", internal, 0, 0)
        if self.external_port is not None:
            external = self.external_port
        if self.lifetime_s is not None:
            lifetime_s = self.lifetime_s
        self.forwarded[opcode] = (internal, external, lifetime_s)
        return head + struct.pack("!HHI", internal, external, lifetime_s)


@asynccontextmanager
async def running() -> AsyncIterator[Router]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, trio.fail_after(DEADLINE_S):
        await server.bind(("127.0.0.1", 0))
        router = Router(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.serve)
            yield router
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_tcp_and_udp_are_forwarded_renewed_and_given_back() -> None:
    async with running() as router:
        forwarder = router.forwarder()

        granted = await forwarder.map({TCP: 4001, QUIC: 6001})

        assert [str(item) for item in granted.mappings] == [
            "NAT-PMP: tcp 11.0.0.1:4001 leads to port 4001",
            "NAT-PMP: quic 11.0.0.1:6001 leads to port 4001",
        ]
        assert granted.refusals == ()
        assert router.forwarded == {2: (4001, 4001, 3600), 1: (4001, 6001, 3600)}

        await forwarder.release()

        assert router.forwarded == {}
        asked = list(dict.fromkeys(router.requests))  # a request is repeated if its answer is read too late
        assert asked[-2:] == [message.ask_mapping(port, 0, 0) for port in (QUIC, TCP)]


@pytest.mark.trio
async def test_a_mapping_is_renewed_after_half_of_what_the_router_grants() -> None:
    async with running() as router:
        router.lifetime_s = 900

        granted = await router.forwarder().map({TCP: 4001})

        assert granted.renew_s == 450


@pytest.mark.trio
async def test_another_port_than_the_one_asked_for_is_taken() -> None:
    async with running() as router:
        router.external_port = 40_001

        granted = await router.forwarder().map({TCP: 4001})

        assert granted.mappings[0].external_port == 40_001


@pytest.mark.parametrize(("external_port", "lifetime_s"), [(80, 3600), (4001, 0)])
@pytest.mark.trio
async def test_an_unusable_mapping_is_deleted_at_once(external_port: int, lifetime_s: int) -> None:
    async with running() as router:
        router.external_port, router.lifetime_s = external_port, lifetime_s

        granted = await router.forwarder().map({TCP: 4001})

        assert granted.mappings == ()
        assert granted.refusals == (f"tcp 4001: the router offers port {external_port} for {lifetime_s} s",)
        assert router.forwarded == {}


@pytest.mark.trio
async def test_one_port_can_be_refused_and_the_other_forwarded() -> None:
    async with running() as router:
        refusal = bytes.fromhex("0081 0002 00000000") + bytes(8)
        router.answers = lambda request: [refusal if request[1] == 1 else router.answer(request)]

        granted = await router.forwarder().map({TCP: 4001, QUIC: 4001})

        assert [item.carrier for item in granted.mappings] == ["tcp"]
        assert granted.refusals == (
            "quic 4001: the router refuses: it is not allowed, or switched off there",
        )


@pytest.mark.trio
async def test_a_packet_of_another_host_than_the_router_is_ignored() -> None:
    """Anyone on the network could otherwise say what the router does."""
    async with running() as router:
        with (
            trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour,
            trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other_port,
        ):
            await neighbour.bind(("127.0.0.2", 0))
            await other_port.bind(("127.0.0.1", 0))
            router.impostors = (neighbour, other_port)

            granted = await router.forwarder().map({TCP: 4001, QUIC: 4001})

        assert len(granted.mappings) == 2
        assert granted.refusals == ()


@pytest.mark.trio
async def test_rubbish_from_the_router_does_not_hide_its_answer() -> None:
    async with running() as router:
        rubbish = [b"", b"\0", ADDRESS[:5], bytes(16), b"\0\x99" + bytes(14), MAPPING + b"more" * 20]
        router.answers = lambda request: [*rubbish, router.answer(request)]

        granted = await router.forwarder().map({TCP: 4001, QUIC: 4001})

        assert len(granted.mappings) == 2


@pytest.mark.trio
async def test_a_request_that_got_lost_is_sent_again() -> None:
    async with running() as router:
        router.answers = lambda request: [router.answer(request)] if len(router.requests) > 2 else []

        granted = await router.forwarder().map({TCP: 4001})

        assert len(granted.mappings) == 1
        assert router.requests[:3] == [message.ask_address()] * 3


@pytest.mark.trio
async def test_a_router_that_never_answers_is_given_up_soon() -> None:
    async with running() as router:
        router.answers = lambda _request: []
        begun = trio.current_time()

        with pytest.raises(TransportError, match="does not answer"):
            await router.forwarder().map({TCP: 4001})

        assert trio.current_time() - begun < 8
        assert router.requests == [message.ask_address()] * 4


@pytest.mark.trio
async def test_a_router_that_does_not_listen_is_given_up_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    forwarder = NatPmp(lambda: "127.0.0.1", port)

    with pytest.raises(TransportError, match="does not speak NAT-PMP"):
        await forwarder.map({TCP: 4001})


@pytest.mark.trio
async def test_a_mapping_requested_without_an_answer_is_deleted_too() -> None:
    """The router may have heard the request: its answer got lost."""
    async with running() as router:
        forwarder = router.forwarder()
        router.answers = lambda request: [answer for answer in [router.answer(request)] if request[1] == 0]
        granted = await forwarder.map({TCP: 4001})
        assert granted.mappings == ()
        assert 2 in router.forwarded
        router.answers = lambda request: [router.answer(request)]

        await forwarder.release()

        assert router.forwarded == {}


@pytest.mark.trio
async def test_a_router_that_was_asked_for_nothing_is_not_bothered_at_the_end() -> None:
    async with running() as router:
        await router.forwarder().release()

        assert router.requests == []


@pytest.mark.trio
async def test_a_restart_of_the_router_is_noticed() -> None:
    async with running() as router:
        forwarder = router.forwarder(watch_s=0.02)
        await forwarder.map({TCP: 4001})
        async with trio.open_nursery() as nursery:
            forgotten = trio.Event()

            async def wait() -> None:
                await forwarder.until_forgotten()
                forgotten.set()

            nursery.start_soon(wait)
            known = len(router.requests)
            while len(router.requests) < known + 5:
                assert not forgotten.is_set()
                await trio.sleep(0.01)
            router.epoch_s = 5

            await forgotten.wait()


@pytest.mark.trio
async def test_a_router_whose_address_changes_is_noticed() -> None:
    async with running() as router:
        forwarder = router.forwarder(watch_s=0.02)
        await forwarder.map({TCP: 4001})
        other = router.answer(message.ask_address())[:8] + bytes((11, 0, 0, 9))
        router.answers = lambda _request: [other]

        await forwarder.until_forgotten()


def route(destination: str, gateway: str, flags: int, metric: int, mask: str) -> str:
    """Return a line as the kernel prints it, which does so in the processor's order."""
    words = [f"{struct.unpack('=I', socket.inet_aton(item))[0]:08X}" for item in (destination, gateway, mask)]
    return f"eth0\t{words[0]}\t{words[1]}\t{flags:04X}\t0\t0\t{metric}\t{words[2]}\t0\t0\t0\n"


HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def test_the_router_is_that_of_the_default_route_of_least_metric(tmp_path: Path) -> None:
    table = tmp_path / "route"
    lines = [
        route("192.168.1.0", "0.0.0.0", 0x1, 0, "255.255.255.0"),
        route("0.0.0.0", "192.168.7.1", 0x3, 600, "0.0.0.0"),
        route("0.0.0.0", "192.168.1.1", 0x3, 100, "0.0.0.0"),
        route("0.0.0.0", "192.168.1.9", 0x2, 10, "0.0.0.0"),
        route("0.0.0.0", "0.0.0.0", 0x1, 10, "0.0.0.0"),
        route("0.0.0.0", "10.0.0.1", 0x3, 10, "128.0.0.0"),
    ]
    table.write_text(HEAD + "".join(lines))

    assert default_gateway(table) == "192.168.1.1"


@pytest.mark.parametrize(
    "text",
    ["", HEAD, HEAD + "eth0\n", HEAD + route("192.168.1.0", "0.0.0.0", 1, 0, "255.255.255.0")],
    ids=["empty", "no route", "a broken line", "no default route"],
)
def test_a_missing_default_route_is_an_error(tmp_path: Path, text: str) -> None:
    table = tmp_path / "route"
    table.write_text(text)

    with pytest.raises(TransportError, match="no default route"):
        default_gateway(table)


@pytest.mark.parametrize(
    "line", ["eth0 00000000 XYZ 0003 0 0 0 00000000", "eth0 00000000 1FFFFFFFFF 3 0 0 0 00000000"]
)
def test_a_table_that_cannot_be_read_is_an_error(tmp_path: Path, line: str) -> None:
    table = tmp_path / "route"
    table.write_text(HEAD + line + "\n")

    with pytest.raises(TransportError, match="does not tell"):
        default_gateway(table)


def test_a_system_without_such_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="does not tell"):
        default_gateway(tmp_path / "none")
