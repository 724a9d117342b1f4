"""Hold what the daemon does with signals that come before its service is there."""

from __future__ import annotations

import signal

import trio
from trio.testing import wait_all_tasks_blocked

from plasm_core.daemon.main import _signals

DEADLINE_S = 20


def test_a_sighup_at_the_start_waits_for_the_service_and_many_are_one_reload() -> None:
    async def start() -> int:
        before, reloads = signal.getsignal(signal.SIGHUP), 0
        async with _signals() as signals:
            with trio.fail_after(DEADLINE_S):
                while signal.getsignal(signal.SIGHUP) is before:  # the default would end this process
                    await wait_all_tasks_blocked()
                for _ in range(3):
                    signal.raise_signal(signal.SIGHUP)
                    await wait_all_tasks_blocked()
                async for _ in signals.reloads:
                    reloads += 1
                    if not signals.reloads.statistics().current_buffer_used:
                        break
        return reloads

    assert trio.run(start) == 1


def test_a_sigterm_at_the_start_ends_the_daemon_when_it_has_started() -> None:
    async def start() -> bool:
        before = signal.getsignal(signal.SIGTERM)
        async with _signals() as signals:
            with trio.fail_after(DEADLINE_S):
                while signal.getsignal(signal.SIGTERM) is before:
                    await wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGTERM)
                await signals.ended.wait()
        return True

    assert trio.run(start)
