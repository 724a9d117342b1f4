"""One HTTP request to a URL that a client named: by an address that was checked, and to no other (SSRF).

The name is resolved once, and the connection goes to the address that was checked. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import attrs
import h11
import trio

from plasm_core.address_classes import class_of_ip, is_permitted
from plasm_core.errors import PlasmError
from plasm_core.version import __version__

DEADLINE_S = 15.0
MAX_URL_CHARACTERS = 2048
_MAX_ANSWER_BYTES = 64 << 10
_RECEIVE_BYTES = 16 << 10
_NAME = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
"""A host name in labels (RFC 1035, section 2.3.4): the resolver cannot encode any other."""


class WebhookUrlError(PlasmError):
    """A URL is not allowed as a webhook."""


class DeliveryError(PlasmError):
    """A delivery failed. `status`: the answer's, None if there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen(kw_only=True)
class Allowed:
    """Where deliveries may go. `hosts`: names; `*.example.org` stands for all below it. `private`: also private addresses and http."""

    hosts: tuple[str, ...] = ()
    private: bool = False

    def check(self, url: str) -> SplitResult:
        """Return a URL's parts. Raises: `WebhookUrlError`."""
        if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
            raise WebhookUrlError(
                f"a webhook's URL has at most {MAX_URL_CHARACTERS} printable ASCII characters"
            )
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as exc:
            raise WebhookUrlError(f"not a URL: {exc}") from exc
        schemes = ("https", "http") if self.private else ("https",)
        if parts.scheme not in schemes or not parts.hostname:
            raise WebhookUrlError(f"a webhook's URL begins with {' or '.join(schemes)}://HOST")
        if parts.username is not None or parts.password is not None or parts.fragment or "\\" in url:
            raise WebhookUrlError("a webhook's URL has no user, no fragment and no backslash")
        if not _is_host(parts.hostname):
            raise WebhookUrlError(
                "a webhook's URL names a host by labels of 1 to 63 letters, digits, - and _"
            )
        if not self._has(parts.hostname):
            raise WebhookUrlError(
                f"webhooks may not be sent to {parts.hostname}",
                hint="the operator allows hosts with: plasm web --webhook-host NAME",
            )
        return parts

    def _has(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return any(
            name == item or (item.startswith("*.") and name.endswith(item[1:]) and name != item[2:])
            for item in self.hosts
        )


def _is_host(host: str) -> bool:
    """Return whether a text is a name that a resolver can be asked for, or an address."""
    if ":" not in host:
        return _NAME.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host) is not None
    except ValueError:
        return False


async def deliver(url: str, body: bytes, headers: Sequence[tuple[str, str]], allowed: Allowed) -> None:
    """Send one POST request. Raises: `DeliveryError`, `WebhookUrlError`."""
    parts = allowed.check(url)
    with trio.move_on_after(DEADLINE_S):
        try:
            await _post(parts, body, headers, allowed)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as exc:
            raise DeliveryError(f"cannot reach {parts.hostname}: {exc.__cause__ or exc}") from exc
        except h11.ProtocolError as exc:
            raise DeliveryError(f"{parts.hostname} does not speak HTTP: {exc}") from exc
        return
    raise DeliveryError(f"{parts.hostname} did not answer within {DEADLINE_S:.0f} s")


async def checked_address(host: str, port: int, allowed: Allowed) -> tuple[int, str]:
    """Resolve a name once, and return the family and text of an address that may be dialled. Raises: `DeliveryError`, OSError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    refused = set()
    for family, _, _, _, address in found:
        ip = ipaddress.ip_address(str(address[0]))
        if is_permitted(ip, allowed.private):
            return int(family), str(address[0])
        refused.add(class_of_ip(ip))
    raise DeliveryError(f"{host} has only addresses that may not be dialled: {', '.join(sorted(refused))}")


async def _post(
    parts: SplitResult, body: bytes, headers: Sequence[tuple[str, str]], allowed: Allowed
) -> None:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    family, address = await checked_address(host, port, allowed)
    stream: trio.abc.Stream = await _dial(family, address, port)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    async with stream:
        connection = h11.Connection(h11.CLIENT)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = h11.Request(
            method="POST",
            target=target,
            headers=[
                ("Host", parts.netloc.lower()),
                ("User-Agent", f"plasm-web/{__version__}"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
                *headers,
            ],
        )
        sent = [connection.send(item) for item in (request, h11.Data(data=body), h11.EndOfMessage())]
        await stream.send_all(b"".join(item for item in sent if item))
        status = await _status(stream, connection)
    if not 200 <= status < 300:
        raise DeliveryError(f"{host} answered {status}", status=status)


async def _dial(family: int, address: str, port: int) -> trio.SocketStream:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


async def _status(stream: trio.abc.Stream, connection: h11.Connection) -> int:
    received = 0
    while received < _MAX_ANSWER_BYTES:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive_some(_RECEIVE_BYTES)
            received += len(data)
            connection.receive_data(bytes(data))
        elif isinstance(event, h11.Response):
            return int(event.status_code)
        elif not isinstance(event, h11.InformationalResponse):
            break
    raise DeliveryError("the answer has no status")
