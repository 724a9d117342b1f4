"""How many executions of a job are enough, as nodes with false results are dropped."""

from __future__ import annotations

from plasm_core.client.executions import Executions
from plasm_core.records import PeerId, Plan

ALICE, BOB = (PeerId(public_key=bytes([number]) * 32) for number in (1, 2))


def test_fewer_results_are_enough_only_while_one_is_left() -> None:
    """With none, the run would judge the first of no results, and end with an IndexError."""
    executions: Executions[str] = Executions(plan=Plan(executions=2), network=lambda _peer: None)
    executions.add(ALICE, "a lie")
    executions.drop([ALICE])
    executions.add(BOB, "a result whose output is not sent again")

    assert executions.make_do()
    assert executions.are_enough

    executions.drop([BOB])

    assert not executions.are_enough
