"""The threads in which jobs run here. They stay, so that a job starts no thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import trio

from plasm_core.daemon.wakes import wakes

T = TypeVar("T")


class RunThreads:
    """Calls functions in threads, as many at once as are asked for. Used by the event loop.

    `trio.to_thread` does more for each call than a small job needs: it copies the context, names the thread, counts
    it, and lets the loop pass twice before it begins.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._free = 0
        self._wakes = wakes()

    async def run(self, work: Callable[[], T]) -> T:
        """Call a function, and return its result. When cancelled, the thread still runs to its end.

        Raises: what the function raises.
        """
        task, done = trio.lowlevel.current_task(), list[tuple[T | None, BaseException | None]]()
        is_left = False

        def call() -> None:
            try:
                done.append((work(), None))
            except BaseException as exc:
                done.append((None, exc))
            self._wakes.add(ended)

        def ended() -> None:
            self._free += 1
            if not is_left:
                trio.lowlevel.reschedule(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            nonlocal is_left
            is_left = True
            return trio.lowlevel.Abort.SUCCEEDED

        if self._free:
            self._free -= 1
        else:
            # Nothing waits for them at the end: a job that is left to the next start may hang.
            threading.Thread(target=self._serve, name="plasm-run", daemon=True).start()
        self._work.put(call)
        await trio.lowlevel.wait_task_rescheduled(abort)
        ((result, problem),) = done
        if problem is not None:
            raise problem
        return result  # type: ignore[return-value]

    def _serve(self) -> None:
        while True:
            self._work.get()()
