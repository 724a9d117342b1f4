"""A URL is told of a job's end: signed, again after failures and restarts, and never at a private address by mistake."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from plasm_core.web.webhook_delivery import Allowed, DeliveryError, WebhookUrlError, checked_address, deliver
from plasm_core.web.webhooks import signature
from tests.support.certificates import certified
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()


@attrs.define
class Receiver:
    """A real HTTP server that keeps what it was told, and answers as it is told to."""

    port: int = 0
    answers: list[int] = attrs.field(factory=list)
    told: list[tuple[dict[str, str], bytes]] = attrs.field(factory=list)
    _server: HTTPServer | None = None
    _is_listening: bool = False

    def bind(self) -> None:
        """Take a port, which refuses connections until the receiver listens."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.told.append((headers, body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://localhost:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", self.port), Handler, bind_and_activate=False)
        self._server.server_bind()
        self.port = self._server.server_port

    def start(self) -> None:
        """Listen."""
        assert self._server is not None
        self._server.server_activate()
        self._is_listening = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            if self._is_listening:
                self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook?a=b"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.bind()
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def telling(daemon: Daemon) -> Iterator[WebServer]:
    """A server that may tell this machine."""
    with WebServer(daemon, "--webhook-host", "localhost", "--webhook-private") as made:
        yield made.start()


def submitted(web: WebServer, url: str) -> str:
    """Submit a job with a webhook, and return its path."""
    answer = web.submit([("module", HELLO), ("args", b"private words"), ("webhook", url.encode())])
    assert answer.status == 202, answer.body
    return answer.headers["location"]


def hook_of(web: WebServer, path: str, state: str) -> dict[str, Any]:
    """Wait until a job's webhook has a state, and return it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found: dict[str, Any] = web.ask("GET", path).json["webhook"]
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the specification's own libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_gets_the_job_and_its_receipt_but_no_output(
    telling: WebServer, receiver: Receiver
) -> None:
    path = submitted(telling, receiver.url)

    hook_of(telling, path, "delivered")

    ((headers, body),) = receiver.told
    secret = telling.ask("GET", "/v1/webhook-secret").json["secret"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    message = json.loads(body)
    assert message["type"] == "job.ended"
    assert message["data"]["job"]["jobId"] == path.removeprefix("/v1/jobs/")
    assert message["data"]["job"]["state"] == "COMPLETE"
    assert message["data"]["receipt"] == telling.ask("GET", f"{path}/receipt").json
    assert b"sdrow" not in body
    assert b"phase0-" not in body


def test_other_tokens_have_other_secrets(telling: WebServer) -> None:
    secrets = {
        telling.ask("GET", "/v1/webhook-secret", token=token).json["secret"]
        for token in (telling.make_token("one"), telling.make_token("two"), "page")
    }

    assert len(secrets) == 3


def test_a_failed_attempt_is_repeated_with_the_same_id_also_by_the_next_server(
    daemon: Daemon,
) -> None:
    receiver = Receiver(answers=[500])
    receiver.bind()
    with (
        contextlib.closing(receiver),
        WebServer(daemon, "--webhook-host", "localhost", "--webhook-private") as web,
    ):
        web.start()
        path = submitted(web, receiver.url)
        deadline = time.monotonic() + DEADLINE_S
        while not web.ask("GET", path).json["webhook"]["attempts"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "problem" in web.ask("GET", path).json["webhook"]
        receiver.start()  # at once: the next attempt is made 5 s after the first, and the one after that much later
        web.end()
        web.start()
        deadline = time.monotonic() + DEADLINE_S
        while not receiver.told:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        hook = web.ask("GET", path).json["webhook"]
        assert hook["state"] == "waiting"


@pytest.mark.parametrize(("status", "attempts"), [(410, 1)])
def test_a_receiver_that_answers_gone_gets_nothing_more(
    telling: WebServer, receiver: Receiver, status: int, attempts: int
) -> None:
    receiver.answers = [status]

    hook = hook_of(telling, submitted(telling, receiver.url), "failed")

    assert (hook["attempts"], len(receiver.told)) == (attempts, 1)


def test_a_redirect_is_a_failure_and_not_followed(telling: WebServer, receiver: Receiver) -> None:
    receiver.answers = [302]
    path = submitted(telling, receiver.url)

    deadline = time.monotonic() + DEADLINE_S
    while not telling.ask("GET", path).json["webhook"]["attempts"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert telling.ask("GET", path).json["webhook"]["problem"] == "localhost answered 302"
    assert len(receiver.told) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "ftp://localhost/",
        "http://localhost.example.com/",
        "http://user@localhost/",
        "http://localhost\\@example.com/",
        "http://localhost:99999/",
        "http://[::1/",
        "http://localhost/#fragment",
        "http://localhost/\r\nX: y",
        "http://127.0.0.1/",
        "//localhost/",
        "http:///path",
        "http://localhost../",
        "",
        "http://localhost/" + "a" * 3000,
    ],
)
def test_a_url_that_is_not_allowed_is_refused_with_the_job(telling: WebServer, url: str) -> None:
    answer = telling.submit([("module", HELLO), ("webhook", url.encode())])

    assert (answer.status, answer.json["code"]) == (422, "webhook_refused")


def test_no_host_is_allowed_unless_the_operator_says_so(web: WebServer) -> None:
    answer = web.submit([("module", HELLO), ("webhook", b"https://example.com/")])

    assert (answer.status, answer.json["code"]) == (422, "webhook_refused")
    assert "--webhook-host" in answer.json["hint"]


def test_a_pattern_stands_for_names_below_it() -> None:
    allowed = Allowed(hosts=("*.example.org", "one.test"))

    for host in ("a.example.org", "a.b.example.org", "A.EXAMPLE.ORG.", "one.test"):
        allowed.check(f"https://{host}/")
    for host in (
        *("example.org", "aexample.org", "b.one.test", "example.org.evil.test"),
        *(".example.org", "a..example.org", "one.test..", f"{'a' * 64}.example.org", "%61.example.org"),
    ):
        with pytest.raises(WebhookUrlError):
            allowed.check(f"https://{host}/")


def test_a_url_that_cannot_be_resolved_fails_no_other(telling: WebServer, receiver: Receiver) -> None:
    """The table may hold a URL of a version that let it in: it must not end the server, at each start again."""
    path = submitted(telling, receiver.url)
    hook_of(telling, path, "delivered")
    with sqlite3.connect(telling.daemon.state / "web" / "jobs.sqlite", timeout=DEADLINE_S) as table:
        table.execute("UPDATE webhook SET url=?, state='waiting'", ("http://localhost../",))
    table.close()

    problem = hook_of(telling, path, "failed")["problem"]
    # The server of the other tests, which takes https only, shares the table and may be the first.
    assert "labels" in problem or "begins with https://" in problem
    assert telling.process is not None
    assert telling.process.poll() is None


class Resolver(trio.abc.HostnameResolver):
    """Answers with addresses, another list each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in found
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise AssertionError("not asked")


@pytest.mark.parametrize(
    ("address", "private", "permitted"),
    [
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("10.1.2.3", False, False),
        ("192.168.1.1", False, False),
        ("169.254.169.254", True, False),
        ("100.100.100.200", True, False),
        ("0.0.0.0", True, False),
        ("::1", False, False),
        ("::ffff:127.0.0.1", True, False),
        ("64:ff9b::7f00:1", True, False),
        ("fe80::1", True, False),
        ("fd00:ec2::254", True, False),
        ("224.0.0.1", True, False),
        ("93.184.215.14", False, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", False, True),
    ],
)
def test_the_address_behind_a_name_decides(address: str, private: bool, permitted: bool) -> None:
    async def check() -> tuple[int, str]:
        trio.socket.set_custom_hostname_resolver(Resolver([address]))
        return await checked_address("hook.test", 443, Allowed(hosts=("hook.test",), private=private))

    if permitted:
        assert trio.run(check)[1] == address
    else:
        with pytest.raises(DeliveryError, match="may not be dialled"):
            trio.run(check)


def test_a_name_is_resolved_once_and_the_checked_address_is_dialled(receiver: Receiver) -> None:
    """A name that has another address at the second question would lead elsewhere (DNS rebinding)."""
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])

    async def post() -> None:
        trio.socket.set_custom_hostname_resolver(resolver)
        await deliver(
            f"http://hook.test:{receiver.port}/", b"{}", [], Allowed(hosts=("hook.test",), private=True)
        )

    trio.run(post)

    assert resolver.asked == 1
    assert receiver.told[0][0]["host"] == f"hook.test:{receiver.port}"


def test_a_certificate_is_checked_against_the_name(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified("hook.test", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert receiver._server is not None
    receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)

    def post(host: str) -> None:
        async def work() -> None:
            trio.socket.set_custom_hostname_resolver(Resolver(["127.0.0.1"]))
            await deliver(
                f"https://{host}:{receiver.port}/", b"{}", [], Allowed(hosts=("*.test",), private=True)
            )

        trio.run(work)

    with pytest.raises(DeliveryError, match="cannot reach"):
        post("hook.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    post("hook.test")
    with pytest.raises(DeliveryError, match="cannot reach"):
        post("other.test")

    assert len(receiver.told) == 1


def test_a_mixed_answer_never_leads_to_the_private_address() -> None:
    async def check() -> tuple[int, str]:
        trio.socket.set_custom_hostname_resolver(Resolver(["10.0.0.1", "93.184.215.14"]))
        return await checked_address("hook.test", 443, Allowed(hosts=("hook.test",)))

    assert trio.run(check)[1] == "93.184.215.14"
