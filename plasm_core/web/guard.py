"""What every request passes before a route sees it: Host, Origin, the bearer token, and headers of each answer.

Tokens come in the header Authorization only, which no page of another origin can have a browser add: there is
nothing to forge (CSRF). The Host has to be a name of this server, so that a name which an attacker points at this
machine is of no use (DNS rebinding).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any

import attrs
import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plasm_core.metrics import Counters
from plasm_core.web.bearer_tokens import LOCAL_USER, BearerToken, BearerTokens
from plasm_core.web.problems import ApiProblem, problem_of
from plasm_core.web.server import HOLD, MAX_CONNECTIONS
from plasm_core.web.token_shares import TokenShares

log = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_NO_TRACE = "0" * 32
TRACE: ContextVar[str] = ContextVar("trace", default="")
"""The trace id of the request that is being served, empty if the client gave none."""

LINGER_S, LINGER_BYTES = 2.0, 8 << 20
"""How long, and how many bytes, of an unwanted body are read after the answer."""
_API_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""`wasm-unsafe-eval`: the page runs a job's module again, to compare."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@attrs.frozen(kw_only=True)
class Access:
    """Who may ask: the names that Host may have, origins of other pages, and whether a token is needed.

    `is_tls`: clients reach this server by https, itself or through a proxy. `is_local`: over a Unix socket, which only
    this user may open. `most_open`: the requests that may be open at once, of which one token gets a share.
    """

    hosts: tuple[str, ...] = LOOPBACK_NAMES
    origins: tuple[str, ...] = ()
    is_tls: bool = False
    is_local: bool = False
    most_open: int = MAX_CONNECTIONS


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, access: Access, tokens: BearerTokens, counters: Counters) -> None:
        self._app = app
        self._access = access
        self._tokens = tokens
        self.counters = counters
        self.shares = TokenShares(access.most_open)
        self.stopping = trio.Event()
        """Set when the server is about to end: streams end then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        request = _Answering(self, scope, send)
        trace = TRACE.set(_trace_id(request.headers))
        try:
            await request.serve(receive)
        finally:
            TRACE.reset(trace)

    def check(self, scope: Scope, headers: Headers) -> BearerToken | None:
        """Check Host, Origin and token of a request. Return the token's record, None for a request without one.

        Raises: `ApiProblem`.
        """
        self._check_host(scope, headers)
        self._check_origin(scope, headers)
        return self._who(headers)

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        given = headers.getlist("host")
        found = _AUTHORITY.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            raise ApiProblem(400, "bad_host", "the request has no proper Host header")
        if found.group(1).lower().rstrip(".") not in self._access.hosts:
            raise ApiProblem(
                403,
                "unknown_host",
                "the header Host names another server",
                hint="the operator adds names with: plasm web --host-name NAME",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith("/v1/"):
                raise _foreign()
            return
        if origin not in self.own_origins(headers) and origin not in self._access.origins:
            raise _foreign()

    def own_origins(self, headers: Headers) -> Iterable[str]:
        """Return the origins of this server's own page, as a browser names them."""
        scheme = "https" if self._access.is_tls else "http"
        return (f"{scheme}://{headers['host'].lower()}",)

    def allows(self, origin: str | None) -> bool:
        """Return whether pages of another origin may read the answers."""
        return origin is not None and origin in self._access.origins

    def _who(self, headers: Headers) -> BearerToken | None:
        given = headers.getlist("authorization")
        if not given:
            return LOCAL_USER if self._access.is_local else None
        scheme, _, token = given[0].partition(" ")
        found = self._tokens.find(token.strip()) if scheme.lower() == "bearer" and len(given) == 1 else None
        if found is None:
            raise unauthorized("the token is not known, or was revoked")
        return found

    def is_valid(self, token: BearerToken) -> bool:
        """Return whether a token has not been revoked meanwhile."""
        return self._tokens.is_valid(token)

    @property
    def is_tls(self) -> bool:
        """Whether clients come by https."""
        return self._access.is_tls


def unauthorized(detail: str) -> ApiProblem:
    """Return the problem of a request without a valid token."""
    return ApiProblem(
        401,
        "unauthorized",
        detail,
        hint="make a token with: plasm web token make NAME; send it as: Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": 'Bearer realm="plasm"'},
    )


def _foreign() -> ApiProblem:
    return ApiProblem(
        403,
        "foreign_origin",
        "pages of other origins may not use this server",
        hint="the operator names an origin with: plasm web --allow-origin ORIGIN",
    )


def token_of(request: Request, scope: str) -> BearerToken:
    """Return whose request it is, if it may do what needs a scope. Raises: `ApiProblem`."""
    token: BearerToken | None = request.state.token
    if token is None:
        raise unauthorized("a token is needed")
    if not token.permits(scope):
        raise ApiProblem(403, "forbidden", f"the token {token.name} has no scope {scope}")
    return token


def check_still_valid(request: Request) -> None:
    """Check that the token of a request that takes long was not revoked meanwhile. Raises: `ApiProblem`."""
    if not request.state.guard.is_valid(request.state.token):
        raise unauthorized("the token was revoked")


class _Answering:
    """One request: adds headers to its answer, and logs it."""

    def __init__(self, guard: Guard, scope: Scope, send: Send) -> None:
        self._guard = guard
        self._scope = scope
        self._send = send
        self.headers = Headers(scope=scope)
        self._receive: Receive
        self._has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self._status = 0
        self._began = time.monotonic()

    async def serve(self, receive: Receive) -> None:
        """Serve the request."""
        self._receive = receive
        self._guard.counters.add("web_requests_open")
        scope, origin = self._scope, self.headers.get("origin")
        try:
            token = self._guard.check(scope, self.headers)
            if scope["method"] == "OPTIONS" and self._guard.allows(origin):
                await self._preflight()
                return
            scope.setdefault("state", {})["token"] = token
            scope["state"]["guard"] = self._guard
            with self._guard.shares.place(token):
                if token is not None and HOLD in scope["state"]:
                    scope["state"][HOLD]()
                await self._guard._app(scope, self.receive, self.send)
        except Exception as exc:
            if self._status:
                raise
            problem = problem_of(exc)
            if problem.status == 500:
                log.exception("request failed method=%s path=%r", scope["method"], scope["path"][:200])
            await problem.response()(scope, self.receive, self.send)
        finally:
            self._guard.counters.add("web_requests_open", -1)
            kind = f"{self._status // 100}xx" if self._status else "none"
            self._guard.counters.add("web_requests_total", method=_method(scope["method"]), status=kind)
            log.info(
                "request method=%s path=%r status=%d ms=%d trace=%s",
                *(scope["method"], scope["path"][:200], self._status),
                *(round((time.monotonic() - self._began) * 1000), TRACE.get() or "-"),
            )

    async def _preflight(self) -> None:
        headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
            (
                b"access-control-allow-headers",
                b"authorization, content-type, prefer, last-event-id, range, if-none-match, traceparent",
            ),
            (b"access-control-max-age", b"600"),
        ]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    async def receive(self) -> Message:
        """Return the next part of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._has_body = False
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            self._add_headers(headers)
            if self._has_body:
                headers["Connection"] = "close"
        else:
            self._guard.counters.add("web_answered_bytes_total", len(message.get("body", b"")))
        if message["type"] == "http.response.body" and self._has_body and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        """Take what is left of the body: on a connection closed before, the client may never see the answer."""
        size = 0
        with trio.move_on_after(LINGER_S):
            while self._has_body and size < LINGER_BYTES:
                size += len((await self.receive()).get("body", b""))

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", _API_POLICY)
        headers.setdefault("Cache-Control", "no-store")
        if self._guard.is_tls:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        origin = self.headers.get("origin")
        if origin is not None and self._guard.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        headers.add_vary_header("Origin")


_EXPOSED = "Content-Range, ETag, Location, Phase-Attempt, Preference-Applied, Retry-After"


def _method(name: str) -> str:
    return name.lower() if name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"


def _trace_id(headers: Headers) -> str:
    """Return the trace id of a request (https://www.w3.org/TR/trace-context/), empty if there is none that is valid."""
    given: Sequence[Any] = headers.getlist("traceparent")
    found = _TRACE.fullmatch(given[0]) if len(given) == 1 else None
    trace = found.group(1) if found is not None and not given[0].startswith("ff") else _NO_TRACE
    return "" if trace == _NO_TRACE else trace
