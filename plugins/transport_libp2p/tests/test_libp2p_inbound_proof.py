"""Claims to have dialled a node back, held against who came; and where its neighbours see it."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

from plasm_core.address_classes import IPAddress
from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import parse
from plasm_transport_libp2p.autonat.inbound_proof import (
    NONCE_BYTES,
    PROTOCOL,
    DialBackReceiver,
    NonceArrival,
    NonceArrivals,
    nonce_sender,
)
from plasm_transport_libp2p.autonat.message import DialAttempt
from plasm_transport_libp2p.autonat.observed_addresses import majority_addresses
from plasm_transport_libp2p.autonat.prober import _came_from, _weigh
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.history import MAX_CHANGES, ReachabilityHistory
from plasm_transport_libp2p.transport import Libp2pTransport

ASKED, HELPER = PeerId(bytes([2]) * 32), PeerId(bytes(31) + b"\1")
KNOWN, STRANGE, CLAIMED = "11.0.0.1", "11.0.1.1", "11.0.2.1"


def claim(by: PeerId, *, ok: bool = True, host: str = CLAIMED) -> DialAttempt:
    return DialAttempt(carrier="tcp", port=4001, by=by, host=host, ok=ok, reason="" if ok else "no answer")


def calls(*came: NonceArrival) -> NonceArrivals:
    made = NonceArrivals()
    for call in came:
        made.add(call)
    return made


def test_a_claim_counts_as_coming_from_where_the_call_came_from() -> None:
    made = calls(NonceArrival(carrier="tcp", peer=HELPER, host=STRANGE))
    attempt = claim(HELPER)

    came_from = _came_from(made, attempt)
    evidence = _weigh(attempt, came_from, asked=ASKED, host=KNOWN, spoken_to={KNOWN, CLAIMED})

    assert came_from == STRANGE
    assert (evidence.ok, evidence.fresh, evidence.host) == (True, True, STRANGE)


@pytest.mark.parametrize(
    "came",
    [
        (),
        (NonceArrival(carrier="quic", peer=HELPER, host=STRANGE),),
        (NonceArrival(carrier="tcp", peer=ASKED, host=STRANGE),),
    ],
    ids=["nobody", "over another carrier", "somebody else"],
)
def test_a_claim_that_no_call_bears_out_is_a_failure(came: tuple[NonceArrival, ...]) -> None:
    attempt = claim(HELPER)

    came_from = _came_from(calls(*came), attempt)
    evidence = _weigh(attempt, came_from, asked=ASKED, host=KNOWN, spoken_to={KNOWN})

    assert not evidence.ok
    assert evidence.reason == f"{ASKED} reports a success, but no connection brought the nonce"


def test_a_dial_from_a_contacted_host_is_no_fresh_evidence() -> None:
    attempt = claim(HELPER, host=STRANGE)
    made = calls(NonceArrival(carrier="tcp", peer=HELPER, host=KNOWN))

    evidence = _weigh(attempt, _came_from(made, attempt), asked=ASKED, host=KNOWN, spoken_to={KNOWN})

    assert evidence.ok
    assert not evidence.fresh


def test_one_call_bears_out_one_claim() -> None:
    made = calls(NonceArrival(carrier="tcp", peer=HELPER, host=STRANGE))

    assert [_came_from(made, claim(HELPER)) for _ in range(2)] == [STRANGE, None]


def test_calls_are_bounded() -> None:
    made = calls(*[NonceArrival(carrier="tcp", peer=HELPER, host=STRANGE)] * 1000)

    assert sum(made.take(HELPER, "tcp") is not None for _ in range(1000)) == 32


async def hand_in(network: Libp2pNetwork, peer: PeerId, nonce: bytes) -> None:
    """Hand a nonce in on the connection that there is. Raises: `PeerUnreachableError`, `StreamError`."""
    stream = await network.dial(f"/p2p/{peer}", PROTOCOL)
    await stream.send_all(nonce)
    if await stream.receive_some() != nonce:
        raise StreamError("it was not taken")


async def nothing(_stream: object) -> None:
    pass


@pytest.mark.trio
async def test_a_nonce_from_a_private_address_or_on_a_connection_of_ones_own_is_not_taken() -> None:
    listening = Libp2pTransport(listen=("/ip4/127.0.0.1/tcp/0",))
    async with listening.open(None, {"/x": nothing}) as one, listening.open(None, {"/x": nothing}) as other:
        assert isinstance(one, Libp2pNetwork)
        assert isinstance(other, Libp2pNetwork)
        callers = DialBackReceiver(one)
        callers.serve()
        with callers.expect() as expected:
            where, _ = parse(one.addresses[0])
            assert where is not None
            with pytest.raises(PeerUnreachableError):
                await other.try_dial(where, one.peer_id, nonce_sender(expected.nonce))
            await (await one.dial(other.addresses[0], "/x")).aclose()
            with pytest.raises((PeerUnreachableError, StreamError)):
                await hand_in(other, one.peer_id, expected.nonce)

            assert expected.take(other.peer_id, "tcp") is None


def test_nonces_are_not_guessed() -> None:
    assert len({NonceArrivals().nonce for _ in range(100)}) == 100
    assert len(NonceArrivals().nonce) == NONCE_BYTES == 16


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], []),
        ([None], []),
        (["11.0.0.1"], ["11.0.0.1"]),
        (["11.0.0.1", "11.0.0.1", "11.0.0.2"], ["11.0.0.1"]),
        (["11.0.0.1", "11.0.0.2"], []),
        (["11.0.0.1", "2600::1", "2600::1", None], ["11.0.0.1", "2600::1"]),
    ],
)
def test_the_address_counts_that_most_witnesses_name(seen: list[str | None], expected: list[str]) -> None:
    named = [ip(item) if item is not None else None for item in seen]

    assert [str(item) for item in majority_addresses(named).values()] == expected


def test_changes_are_kept_the_latest_first_and_bounded() -> None:
    history = ReachabilityHistory()
    for number in range(2 * MAX_CHANGES):
        history.note(f"change {number}")

    assert [change.what for change in history.changes] == [
        f"change {n}" for n in range(2 * MAX_CHANGES - 1, MAX_CHANGES - 1, -1)
    ]


def test_a_change_that_repeats_itself_pushes_no_other_out() -> None:
    history = ReachabilityHistory()
    history.note("address changed")
    for _ in range(100):
        history.note("lost the relay")

    assert [change.what for change in history.changes] == ["lost the relay", "address changed"]
    assert all(change.at.utcoffset() == timedelta(0) for change in history.changes)
