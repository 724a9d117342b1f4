"""How long a client waits for the daemon of its machine to start."""

from __future__ import annotations

import trio

from plasm_core import starting


class StartPatience:
    """Decides how long a client waits for a daemon that is starting.

    `grace_s`: seconds to wait if no sign of one is seen.
    """

    def __init__(self, *, grace_s: float = starting.GRACE_S) -> None:
        self._grace_s = grace_s
        self._began = trio.current_time()

    async def goes_on(self, *, answered: bool) -> bool:
        """Wait a moment, and return whether to look for the daemon again.

        `answered`: one answered but could not be used.
        """
        waited_s = trio.current_time() - self._began
        is_early = waited_s < self._grace_s and not answered
        if waited_s >= starting.PATIENCE_S or not (is_early or starting.is_starting()):
            return False
        await trio.sleep(starting.PAUSE_S)
        return True
