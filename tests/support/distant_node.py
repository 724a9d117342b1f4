"""A real daemon that is far away: it tells what it can late, so that clients meet those first who answer at once.

`python -m tests.support.distant_node ARGUMENT…`, in the daemon's place.
"""

from __future__ import annotations

import sys

import trio

from plasm_core.daemon import main as daemon
from plasm_core.daemon.service import Service
from plasm_core.plugins.interfaces import Stream, StreamHandler

DISTANCE_S = 1.0


def main(arguments: list[str]) -> None:
    """Take a daemon's place."""
    tell = daemon._tell_capabilities

    def late(service: Service) -> StreamHandler:
        handler = tell(service)

        async def handle(stream: Stream) -> None:
            await trio.sleep(DISTANCE_S)
            await handler(stream)

        return handle

    daemon._tell_capabilities = late
    daemon.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
