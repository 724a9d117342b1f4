"""One task sends the heartbeats of all conversations of a client."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from plasm_core.client.heartbeats import HEARTBEAT_S, Heartbeats

pytestmark = pytest.mark.trio


class _Conversation:
    """A conversation that notes when it sent heartbeats. `is_stuck`: its node takes nothing."""

    def __init__(self, *, is_stuck: bool = False) -> None:
        self.sent_at = trio.current_time()
        self.beats: list[float] = []
        self._is_stuck = is_stuck

    async def send_heartbeat(self) -> None:
        self.beats.append(trio.current_time())
        if self._is_stuck:
            await trio.sleep_forever()
        self.sent_at = trio.current_time()


async def test_each_silent_conversation_beats_in_its_own_time(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    heartbeats, began = Heartbeats(), trio.current_time()
    nursery.start_soon(heartbeats.run)
    first = _Conversation()
    heartbeats.add(first)
    await trio.sleep(4)
    second = _Conversation()
    heartbeats.add(second)
    await trio.sleep(21)

    assert [round(moment - began) for moment in first.beats] == [HEARTBEAT_S, 2 * HEARTBEAT_S]
    assert [round(moment - began) for moment in second.beats] == [4 + HEARTBEAT_S, 4 + 2 * HEARTBEAT_S]


async def test_a_node_that_takes_nothing_does_not_hold_up_the_others(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    heartbeats = Heartbeats()
    nursery.start_soon(heartbeats.run)
    stuck, other = _Conversation(is_stuck=True), _Conversation()
    heartbeats.add(stuck)
    heartbeats.add(other)
    await trio.sleep(5 * HEARTBEAT_S + 1)

    assert len(stuck.beats) == 1
    assert len(other.beats) == 5


async def test_a_conversation_that_is_over_sends_none(autojump_clock: Any, nursery: trio.Nursery) -> None:
    heartbeats = Heartbeats()
    nursery.start_soon(heartbeats.run)
    over = _Conversation()
    heartbeats.add(over)
    await trio.sleep(HEARTBEAT_S - 1)
    heartbeats.remove(over)
    await trio.sleep(3 * HEARTBEAT_S)
    late = _Conversation()
    heartbeats.add(late)
    await trio.sleep(HEARTBEAT_S + 1)

    assert over.beats == []
    assert len(late.beats) == 1
