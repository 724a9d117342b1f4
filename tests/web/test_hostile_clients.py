"""Clients that mean harm: the server answers them or closes, and goes on serving others."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.config import Config
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer, form

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
HEAD = b"Host: localhost\r\nAuthorization: Bearer %s\r\n"


@contextlib.contextmanager
def dialled(web: WebServer) -> Iterator[socket.socket]:
    """Open a bare connection."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE_S) as sock:
        yield sock


def exchange(web: WebServer, data: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    with dialled(web) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    """Read until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            found += data
    return found


def statuses(said: bytes) -> list[int]:
    """Return the status of each response."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", said)]


def is_well(web: WebServer) -> bool:
    """Return whether the server and the daemon answer."""
    return web.ask("GET", "/readyz", token=None).status == 200


def descriptors(web: WebServer) -> int:
    """Return how many files the server has open."""
    assert web.process is not None
    return len(os.listdir(f"/proc/{web.process.pid}/fd"))


def test_a_head_that_never_ends_is_cut_off_by_time(web: WebServer) -> None:
    """Each byte would restart a timeout of reads: the whole head has one deadline."""
    with dialled(web) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < DEADLINE_S:
                sock.sendall(b"X-A: b\r\n")
                sock.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    if sock.recv(1) == b"":
                        break
        assert time.monotonic() - began < DEADLINE_S
    assert is_well(web)


def test_a_head_that_is_too_large_is_refused(web: WebServer) -> None:
    said = exchange(web, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * (1 << 20))

    assert statuses(said) == [431]
    assert is_well(web)


SMUGGLED = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        # Two lengths, or a length and chunks: RFC 9112, section 6.3, and what request smuggling lives on.
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde" + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5 5\r\n\r\nabcde" + SMUGGLED,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n" + SMUGGLED,
        b"GET /healthz HTTP/1.1\r\n\r\n" + SMUGGLED,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n X-Folded: yes\r\nA B: c\r\n\r\n" + SMUGGLED,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n" + SMUGGLED,
        b"GET /healthz\r\n\r\n" + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
        + SMUGGLED,
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n"
        + SMUGGLED,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
    ],
)
def test_no_second_request_is_found_in_one_that_is_ambiguous(web: WebServer, data: bytes) -> None:
    said = exchange(web, data)

    assert b'"openapi"' not in said
    assert all(400 <= status <= 501 and status != 500 for status in statuses(said)), said[:200]
    assert is_well(web)


def test_an_upgrade_to_http_2_is_not_made(web: WebServer) -> None:
    """A proxy that forwards it would let the client speak to the server past the proxy's rules."""
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade, HTTP2-Settings\r\n"

    said = exchange(web, asked + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")

    assert statuses(said) == [200]


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/..\\..\\etc\\passwd",
        "/index.html%00.js",
        "/v1/jobs/../../healthz",
        "/v1/jobs/%2e%2e/%2e%2e/metrics",
        "/v1/modules/..%2f..%2fjobs.sqlite",
        "/v1//jobs",
        "/v1/jobs/",
        "/%ff%fe",
        "/" + "a" * 20_000,
        "http://attacker.example/healthz",
        "*",
    ],
)
def test_no_path_leads_out_of_the_routes(web: WebServer, path: str) -> None:
    said = exchange(
        web,
        f"GET {path} HTTP/1.1\r\n".encode() + HEAD % web.page_token.encode() + b"Connection: close\r\n\r\n",
    )

    assert statuses(said) == [404], said[:300]
    assert b"root:" not in said


def test_too_many_connections_lock_out_no_client(daemon: Daemon) -> None:
    """Connections that ask for nothing are closed for others, the longest idle first."""
    with WebServer(daemon, "--connections", "64") as web:
        web.start()
        with contextlib.ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(dialled(web))
            assert descriptors(web) < 150
            assert is_well(web)
            job = web.submit([("module", HELLO)], wait_s=60)
        assert job.json["state"] == "COMPLETE"


def test_strangers_who_take_no_answer_lock_nobody_out(daemon: Daemon) -> None:
    """Unread answers fill the buffers and the server waits; without a token it must not delay other clients."""
    asked = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    with WebServer(daemon, "--connections", "16") as web, contextlib.ExitStack() as stack:
        web.start()
        before = descriptors(web)
        for _ in range(40):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", web.port))
            with contextlib.suppress(OSError):  # closed for the next
                sock.sendall(asked)
                sock.recv(1)

        assert all(is_well(web) for _ in range(20))  # meanwhile the buffers fill
        for _ in range(40):
            stack.enter_context(dialled(web))
        assert is_well(web)
        assert descriptors(web) < before + 24, "those that were closed for others are closed indeed"


def test_the_last_free_connection_is_not_closed_for_nobody(daemon: Daemon) -> None:
    """A connection was closed before its request could come, if all others were busy."""
    with WebServer(daemon, "--connections", "4") as web, contextlib.ExitStack() as stack:
        web.start()
        for _ in range(3):
            connection = stack.enter_context(contextlib.closing(web.connect()))
            connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {web.page_token}"})
            assert connection.getresponse().status == 200

        assert all(is_well(web) for _ in range(5))


def test_one_token_leaves_room_for_the_others(daemon: Daemon) -> None:
    with WebServer(daemon, "--connections", "16") as web, contextlib.ExitStack() as stack:
        web.start()
        headers = {"Authorization": f"Bearer {web.make_token('greedy', 'read')}"}
        got = []
        for _ in range(13):
            connection = stack.enter_context(contextlib.closing(web.connect()))
            connection.request("GET", "/v1/events", headers=headers)
            got.append(connection.getresponse())

        assert [answer.status for answer in got] == [200] * 12 + [429]
        assert json.loads(got[-1].read())["code"] == "too_many_requests"
        assert is_well(web)
        daemon.plasm("web", "token", "revoke", "greedy")


def test_the_uploads_of_one_token_leave_room_for_those_of_others(web: WebServer) -> None:
    slow, other = web.make_token("slow"), web.make_token("quick")
    asked = (
        b"PUT /v1/modules/%s HTTP/1.1\r\n" % (b"0" * 64) + HEAD % slow.encode() + b"Content-Length: 4\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(web)) for _ in range(80)]
        for sock in socks:
            sock.sendall(asked)
        refused, _, _ = select.select(socks, [], [], DEADLINE_S)

        assert statuses(refused[0].recv(4096)) == [429]
        assert web.submit([("module", HELLO)], token=other).status == 202


def test_a_large_body_that_nobody_wants_is_answered_and_not_stored(web: WebServer) -> None:
    """curl sees why, though it is still sending; the rest of the body is not waited for."""
    connection = web.connect()
    connection.putrequest("POST", "/v1/jobs")
    connection.putheader("Content-Length", str(1 << 33))
    connection.endheaders()
    with contextlib.suppress(OSError):
        for _ in range(40):
            connection.send(b"x" * (1 << 16))
    answer = connection.getresponse()

    assert (answer.status, answer.headers["Connection"]) == (401, "close")
    connection.close()
    assert is_well(web)


@pytest.mark.parametrize("name", ["module", "stdin", "args"])
def test_an_endless_body_is_refused_at_its_limit(web: WebServer, name: str) -> None:
    boundary = secrets.token_hex(8)
    limits = {"module": Config().admission.module_bytes, "stdin": 256 << 20, "args": 8 << 20}

    def endless() -> Iterator[bytes]:
        yield form(boundary, [(name, b"")]).partition(b"\r\n--" + boundary.encode() + b"--")[0]
        while True:
            yield b"x" * (1 << 20)

    connection = web.connect()
    headers = {
        "Authorization": f"Bearer {web.page_token}",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Transfer-Encoding": "chunked",
    }
    sent = 0
    connection.putrequest("POST", "/v1/jobs")
    for key, value in headers.items():
        connection.putheader(key, value)
    connection.endheaders()
    with contextlib.suppress(OSError):
        for piece in endless():
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += len(piece)
            if sent > limits[name] + (64 << 20):
                break
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
    connection.close()
    assert sent <= limits[name] + (64 << 20)
    assert is_well(web)


def test_a_form_that_breaks_off_leaves_nothing(web: WebServer) -> None:
    before = descriptors(web)
    for _ in range(20):
        with dialled(web) as sock:
            boundary = b"b" * 20
            head = b"POST /v1/jobs HTTP/1.1\r\n" + HEAD % web.page_token.encode()
            head += b"Content-Length: 100000000\r\nContent-Type: multipart/form-data; boundary=" + boundary
            sock.sendall(
                head
                + b"\r\n\r\n--"
                + boundary
                + b'\r\nContent-Disposition: form-data; name="module"\r\n\r\n'
                + b"x" * (3 << 20)
            )

    deadline = time.monotonic() + DEADLINE_S
    while descriptors(web) > before + 2:
        assert time.monotonic() < deadline, "files of broken uploads stay open"
        time.sleep(0.05)
    assert is_well(web)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--B",
        b"--B\r\n\r\n\r\n--B--\r\n",
        b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="args"\r\n' + b"X: y\r\n" * 100 + b"\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="args"\r\nX: '
        + b"y" * 100_000
        + b"\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="args"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--\r\n',
        b'--B\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nx\r\n--B--\r\n',
        b'--B\r\nContent-Disposition: form-data; name="args"\r\n\r\nx\r\n' * 20_000 + b"--B--\r\n",
    ],
)
def test_a_malformed_form_is_a_problem(web: WebServer, body: bytes) -> None:
    answer = web.ask(
        "POST", "/v1/jobs", headers={"Content-Type": "multipart/form-data; boundary=B"}, body=body
    )

    assert 400 <= answer.status < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert is_well(web)


def test_requests_in_a_row_on_one_connection_are_answered_in_order(web: WebServer) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    said = exchange(web, one * 50 + last)

    assert statuses(said) == [200] * 50 + [404]


def test_the_log_has_no_token_and_no_address(web: WebServer) -> None:
    web.ask("GET", "/v1/jobs?token=in-the-query")

    said = Path(web.log).read_text()
    assert web.page_token not in said
    assert "in-the-query" not in said
    assert not re.search(rf"\b127\.0\.0\.1:(?!{web.port})[0-9]+", said)
    assert "Traceback" not in said
