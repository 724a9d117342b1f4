"""What each client may take: used up, grown back, forgotten."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.config import ClientLimits
from plasm_core.daemon.scheduling import quotas as quotas_module
from plasm_core.daemon.scheduling.quotas import Quotas, counted_names
from plasm_core.errors import RefusedError
from plasm_core.records import PeerId

LIMITS = ClientLimits(running=2, cpu_s_per_hour=3600, upload_bytes_per_hour=7200)
PEERS = [PeerId(bytes([number]) * 32) for number in range(1, 4)]


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(LIMITS, clock)


def wait_s(quotas: Quotas, *names: str) -> int | None:
    """Return how long a client is told to wait, None if it is not refused."""
    try:
        quotas.check(names)
    except RefusedError as exc:
        assert exc.reason == "policy"
        return exc.retry_after_s
    return None


def test_a_share_that_is_used_up_grows_back_evenly(quotas: Quotas, clock: Clock) -> None:
    quotas.charge(["a"], cpu_s=3600 + 60)

    assert wait_s(quotas, "a") == 61
    clock.now = 60.5
    assert wait_s(quotas, "a") is None
    quotas.charge(["a"], cpu_s=0.5)
    assert wait_s(quotas, "a") == 1


def test_processor_time_and_bytes_are_counted_apart(quotas: Quotas) -> None:
    quotas.charge(["a"], upload_bytes=7200)

    with pytest.raises(RefusedError, match="bytes to upload"):
        quotas.check(["a"])
    quotas.charge(["a"], upload_bytes=-7200)
    quotas.charge(["a"], cpu_s=3600)
    with pytest.raises(RefusedError, match="processor time"):
        quotas.check(["a"])


def test_a_fresh_key_does_not_help_where_the_address_is_known(quotas: Quotas) -> None:
    quotas.charge(counted_names(PEERS[0], "here"), cpu_s=4000)

    assert wait_s(quotas, *counted_names(PEERS[1], "here")) is not None
    assert wait_s(quotas, *counted_names(PEERS[0], "elsewhere")) is not None
    assert wait_s(quotas, *counted_names(PEERS[1], "elsewhere")) is None


def test_users_of_this_machine_are_not_counted(quotas: Quotas) -> None:
    names = counted_names(None, "user 0")

    quotas.charge(names, cpu_s=1e9, upload_bytes=1 << 60)
    for _ in range(10):
        quotas.started(names)

    assert quotas.may_start(names)
    assert wait_s(quotas, *names) is None


def test_so_many_jobs_of_one_client_run_at_once(quotas: Quotas) -> None:
    first, second = counted_names(PEERS[0], "here"), counted_names(PEERS[1], "here")
    quotas.started(first)
    quotas.started(second)

    assert not quotas.may_start(counted_names(PEERS[2], "here"))
    assert quotas.may_start(counted_names(PEERS[0], "elsewhere"))
    quotas.ended(first)
    assert quotas.may_start(second)


def test_no_limit_counts_nothing(clock: Clock) -> None:
    quotas = Quotas(ClientLimits(running=0, cpu_s_per_hour=0, upload_bytes_per_hour=0), clock)

    quotas.charge(["a"], cpu_s=1e9, upload_bytes=1 << 60)
    quotas.started(["a"])

    assert wait_s(quotas, "a") is None
    assert quotas.may_start(["a"])


def test_limits_may_change_while_clients_are_counted(quotas: Quotas, clock: Clock) -> None:
    quotas.charge(["a"], cpu_s=3600)
    quotas.reconfigure(attrs.evolve(LIMITS, cpu_s_per_hour=0))

    assert wait_s(quotas, "a") is None


def test_what_a_client_has_used_is_taken_up_by_the_next_process(quotas: Quotas, clock: Clock) -> None:
    quotas.charge(["a", "b"], cpu_s=3600 + 60)
    quotas.charge(["b"], cpu_s=-60)
    quotas.charge(["c"], upload_bytes=7200)
    kept = quotas.changes()
    clock.now = 30

    after = Quotas(LIMITS, clock)
    after.restore(kept)

    assert [wait_s(after, name) for name in "abcd"] == [31, None, None, None]
    assert [wait_s(quotas, name) for name in "abcd"] == [31, None, None, None]
    assert after.changes() == []


def test_returned_amounts_are_reported_and_each_change_once(quotas: Quotas) -> None:
    quotas.charge(["a"], upload_bytes=10)
    quotas.charge(["b"], cpu_s=5)
    assert {(use.name, use.resource): use.remaining for use in quotas.changes()} == {
        ("a", "upload_bytes"): 7190,
        ("b", "cpu_s"): 3595,
    }
    assert quotas.changes() == []

    quotas.charge(["a"], upload_bytes=-10)
    changes = quotas.changes()

    assert [(use.name, use.remaining) for use in changes] == [("a", None)]
    quotas.remind(changes)
    assert quotas.changes() == changes


def test_a_clock_that_was_lost_makes_no_debt_grow(quotas: Quotas, clock: Clock) -> None:
    clock.now = 1e9
    quotas.charge(["a"], cpu_s=3600 + 60)
    kept = quotas.changes()
    clock.now = 0

    after = Quotas(LIMITS, clock)
    after.restore(kept)

    assert wait_s(after, "a") == 61


def test_an_owner_that_is_forgotten_for_others_is_reported(
    quotas: Quotas, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what is kept on disk is bounded too."""
    monkeypatch.setattr(quotas_module, "_MAX_CLIENTS", 1)
    quotas.charge(["a"], cpu_s=1)
    quotas.changes()
    quotas.charge(["b"], cpu_s=1)

    assert {(use.name, use.remaining) for use in quotas.changes()} == {("a", None), ("b", 3599)}


def test_what_is_remembered_is_bounded(quotas: Quotas, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh keys are free: the memory of them must not be."""
    monkeypatch.setattr(quotas_module, "_MAX_CLIENTS", 10)
    for number in range(100):
        quotas.charge([f"client {number}"], cpu_s=4000)

    refused = [number for number in range(100) if wait_s(quotas, f"client {number}") is not None]

    assert refused == list(range(90, 100))
