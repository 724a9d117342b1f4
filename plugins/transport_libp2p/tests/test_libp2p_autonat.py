"""What a node concludes from who reached it, and what it does for others who want to know."""

from __future__ import annotations

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio.testing

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, ReachabilityVerdict
from plasm_transport_libp2p.autonat.dial_back import SlidingWindowLimit
from plasm_transport_libp2p.autonat.dial_policy import BETWEEN_S, PATIENCE_S, DialBackPolicy
from plasm_transport_libp2p.autonat.message import (
    MAX_ATTEMPTS,
    DialAttempt,
    DialBackRequest,
    DialBackResponse,
)
from plasm_transport_libp2p.autonat.prober import DialEvidence, verdict_of
from plasm_transport_libp2p.reachability.service import keep_verdict

PEER = PeerId(bytes([2]) * 32)


def seen(*, fresh: bool, ok: bool) -> DialEvidence:
    return DialEvidence(by=PEER, host="11.0.0.1", ok=ok, reason="" if ok else "no answer", fresh=fresh)


STRANGER_IN, STRANGER_OUT = seen(fresh=True, ok=True), seen(fresh=True, ok=False)
KNOWN_IN, KNOWN_OUT = seen(fresh=False, ok=True), seen(fresh=False, ok=False)


@pytest.mark.parametrize(
    ("evidence", "own", "verdict"),
    [
        ([], True, ReachabilityVerdict.UNKNOWN),
        ([STRANGER_IN], False, ReachabilityVerdict.PUBLIC),
        ([STRANGER_IN, STRANGER_OUT, KNOWN_OUT], False, ReachabilityVerdict.PUBLIC),
        ([KNOWN_IN], True, ReachabilityVerdict.PUBLIC),
        ([KNOWN_IN], False, ReachabilityVerdict.UNKNOWN),
        ([KNOWN_IN, STRANGER_OUT], False, ReachabilityVerdict.PRIVATE),
        ([KNOWN_IN, STRANGER_OUT], True, ReachabilityVerdict.UNKNOWN),
        ([KNOWN_OUT], True, ReachabilityVerdict.PRIVATE),
        ([STRANGER_OUT], True, ReachabilityVerdict.UNKNOWN),
        ([STRANGER_OUT, KNOWN_OUT], True, ReachabilityVerdict.PRIVATE),
    ],
)
def test_only_a_strangers_success_proves_that_a_routers_address_is_reached(
    evidence: list[DialEvidence], own: bool, verdict: ReachabilityVerdict
) -> None:
    assert verdict_of(evidence, own=own) is verdict


@pytest.mark.parametrize("proved", [ReachabilityVerdict.PUBLIC, ReachabilityVerdict.PRIVATE])
def test_proven_reachability_holds_until_another_proof(proved: ReachabilityVerdict) -> None:
    before = AddressReach(address="/ip4/11.0.0.2/tcp/4001", verdict=proved, evidence=("one",))
    now = AddressReach(address=before.address, verdict=ReachabilityVerdict.UNKNOWN, evidence=("two",))

    assert keep_verdict(before, now).verdict is proved
    assert keep_verdict(before, now).evidence == ("one", "two")


def test_a_new_proof_replaces_the_old_one() -> None:
    before = AddressReach(address="/ip4/11.0.0.2/tcp/4001", verdict=ReachabilityVerdict.PUBLIC)
    now = AddressReach(address=before.address, verdict=ReachabilityVerdict.PRIVATE)

    assert keep_verdict(before, now) is now


@pytest.mark.trio
async def test_what_is_done_for_one_is_bounded_by_the_minute(autojump_clock: trio.testing.MockClock) -> None:
    allowance = SlidingWindowLimit(2)

    assert [allowance.take("a"), allowance.take("a"), allowance.take("a")] == [True, True, False]
    assert allowance.take("b")
    await trio.sleep(61)
    assert allowance.take("a")


def test_without_a_verdict_those_that_come_first_begin_late_and_rarely() -> None:
    now = [0.0]
    first, second = sorted((PEER, PeerId(bytes(31) + b"\1")), key=str)
    one, other = DialBackPolicy(first, lambda: now[0]), DialBackPolicy(second, lambda: now[0])

    assert not one.allows(second)
    now[0] = PATIENCE_S
    assert [one.allows(second), one.allows(second), other.allows(first)] == [True, False, False]
    now[0] += BETWEEN_S
    assert one.allows(second)
    one.begin()
    now[0] += PATIENCE_S - 1
    assert not one.allows(second)


def test_a_message_says_the_same_after_a_journey() -> None:
    request = DialBackRequest(ports=(("tcp", 4001), ("quic", 4002)), nonce=bytes(range(16)))
    attempt = DialAttempt(carrier="tcp", port=4001, by=PEER, host="11.0.0.1", ok=False, reason="no answer")
    answer = DialBackResponse(observed="/ip4/11.0.0.2/tcp/5000", attempts=(attempt,))

    assert DialBackRequest.decode(request.encode()) == request
    assert DialBackResponse.decode(answer.encode()) == answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"nonce": NONCE, "ports": [["tcp", 22]]}',
        b'{"nonce": NONCE, "ports": [["sctp", 4001]]}',
        b'{"nonce": NONCE, "ports": [["tcp", true]]}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001, 1]]}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001], ["tcp", 4002], ["tcp", 4003], ["tcp", 4004], ["tcp", 4005]]}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001]], "peer": "nobody", "ip": "11.0.0.1"}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001]], "peer": 1, "ip": "11.0.0.1"}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001]], "peer": "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB", "ip": "2a00::1%0"}',
        b'{"nonce": NONCE, "ports": [["tcp", 4001]], "peer": "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB", "ip": "2a00::1%eth0"}',
        b'{"ports": [["tcp", 4001]]}',
        b'{"nonce": "", "ports": [["tcp", 4001]]}',
        b'{"nonce": NONCE0, "ports": [["tcp", 4001]]}',
        b'{"nonce": 1, "ports": [["tcp", 4001]]}',
        b"[" * 5000,
    ],
)
def test_a_request_for_an_address_that_is_not_dialled_is_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        DialBackRequest.decode(data.replace(b"NONCE", b'"' + b"9f" * 16 + b'"'))


def test_a_request_with_its_nonce_is_taken() -> None:
    data = b'{"nonce": "' + b"9f" * 16 + b'", "ports": [["tcp", 4001]]}'

    assert DialBackRequest.decode(data) == DialBackRequest(ports=(("tcp", 4001),), nonce=b"\x9f" * 16)


def test_an_answer_with_more_attempts_than_were_asked_for_is_refused() -> None:
    attempt = DialAttempt(carrier="tcp", port=4001, by=PEER, host="", ok=True)
    data = DialBackResponse(observed="", attempts=(attempt,) * MAX_ATTEMPTS).encode()
    item = data[data.index(b"[{") + 1 : data.index(b"}") + 1]

    with pytest.raises(StreamError):
        DialBackResponse.decode(data.replace(b"[{", b"[" + item + b", {", 1))
