"""A real daemon whose networks other than the local one open only after it has told its health a number of times.

`python -m tests.support.slow_network_daemon TIMES ARGUMENT…`, in the daemon's place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import trio

from plasm_core.daemon.admin import health
from plasm_core.daemon.main import main as daemon
from plasm_core.daemon.networks import Networks
from plasm_core.diagnostics import Check


def main(times: int, arguments: list[str]) -> None:
    """Take a daemon's place."""
    examine, listen = health.examine, Networks.listen
    told = 0
    opening = trio.Event()

    def counted(parts: health.Parts) -> Iterator[Check]:
        nonlocal told
        yield from examine(parts)
        told += 1
        if told >= times:
            opening.set()

    async def slowly(networks: Networks, transport: Any, *rest: Any) -> None:
        if transport.name != "local":
            await opening.wait()
        await listen(networks, transport, *rest)

    setattr(health, "examine", counted)  # noqa: B010 - the name under which the daemon calls it
    setattr(Networks, "listen", slowly)  # noqa: B010
    daemon(arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
