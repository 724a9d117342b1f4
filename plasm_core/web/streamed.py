"""Responses that are written piece by piece, and end when the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from plasm_core.background_tasks import alongside

Write = Callable[[bytes], Awaitable[None]]
Start = Callable[[int, Mapping[str, str]], Awaitable[Write]]


class _Left(Exception):
    pass


class Streamed(Response):
    """A response whose body a function writes. An error before it starts is answered as any other.

    `produce` is called with a function that starts the response with a status and headers, and returns the one that
    writes. What `produce` waits for is cancelled when the client leaves, and when the server is about to end.
    """

    def __init__(self, produce: Callable[[Start], Awaitable[None]]) -> None:
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            raise _Left

        async def write(data: bytes) -> None:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        async def start(status: int, headers: Mapping[str, str]) -> Write:
            raw = [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
            ]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            return write

        async def stop() -> None:
            await scope["state"]["guard"].stopping.wait()
            raise _Left

        try:
            async with alongside(leave, stop):
                await self._produce(start)
        except _Left:
            return
        # Not concurrently with `leave`: on the response's end it would cancel the code that ends the connection.
        await send({"type": "http.response.body", "body": b"", "more_body": False})
