"""The server as a process: where it listens, TLS, the Unix socket, and daemons and servers that end meanwhile."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import certified
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.receipts import ROOT
from tests.support.wat import starting
from tests.support.web_server import WebServer, events

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
FOR_EVER = starting("(loop $l (br $l))")


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that a test may end."""
    with Daemon(tmp_path) as made:
        made.start()
        yield made


def over_socket(path: Path, request: bytes) -> bytes:
    """Send a request over a Unix socket, and return the answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(str(path))
        sock.sendall(request)
        found = b""
        while data := sock.recv(65536):
            found += data
    return found


def test_a_unix_socket_is_its_users_only_and_needs_no_token(daemon: Daemon) -> None:
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory:
        path = Path(directory) / "web.sock"
        with WebServer(daemon, listen=f"unix:{path}") as web:
            web.start()
            asked = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

            said = over_socket(path, asked)

            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert said.startswith(b"HTTP/1.1 200")
            second = daemon.plasm("web", "--listen", f"unix:{path}", check=False)
            assert (second.returncode, b"another program" in second.stderr) == (1, True)
            assert web.end() == 0
            assert not path.exists()
            path.write_text("a file of somebody's")
            third = daemon.plasm("web", "--listen", f"unix:{path}", check=False)
            assert third.returncode == 1
            assert path.read_text() == "a file of somebody's"


def test_a_unix_socket_behind_a_proxy_needs_a_token(own_daemon: Daemon) -> None:
    """The proxy opens the socket for everybody: its file's mode does not say who asks."""
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory:
        path = Path(directory) / "web.sock"
        with WebServer(own_daemon, "--behind-proxy", listen=f"unix:{path}") as web:
            early = own_daemon.plasm("web", "--listen", f"unix:{path}", "--behind-proxy", check=False)
            token = web.make_token("proxied")
            web.start()
            asked = "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n"

            without = over_socket(path, asked.format("").encode())
            with_token = over_socket(path, asked.format(f"Authorization: Bearer {token}\r\n").encode())

    assert (early.returncode, b"token" in early.stderr) == (3, True)
    assert without.startswith(b"HTTP/1.1 401")
    assert with_token.startswith(b"HTTP/1.1 200")


def test_a_log_in_json_has_no_other_line(daemon: Daemon) -> None:
    """Neither where the server listens, nor why a second one does not start."""
    in_json = ("--set", "daemon.log_format=json")
    with WebServer(daemon, *in_json) as web:
        web.start()
        first = [json.loads(line) for line in web.said.splitlines()]
        where = next(entry["event"] for entry in first if entry["event"].startswith("listening on "))
        address = where.rstrip("/").rpartition("/")[2]

        second = daemon.plasm("web", "--listen", address, *in_json, check=False)

        assert second.returncode == 1
        (failure,) = [json.loads(line) for line in second.stderr.splitlines()]
        assert address.rpartition(":")[2] in failure["reason"]
        assert web.end() == 0
        assert all(json.loads(line) for line in web.said.splitlines())


def test_a_socket_that_a_crash_left_is_used_again(daemon: Daemon) -> None:
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory:
        path = Path(directory) / "web.sock"
        with WebServer(daemon, listen=f"unix:{path}") as web:
            web.start()
            web.end(signal.SIGKILL)
            assert path.exists()
            web.start()
            assert web.end() == 0


def test_tls_is_spoken_with_a_certificate(daemon: Daemon, tmp_path: Path) -> None:
    certificate, key = certified("localhost", tmp_path)
    with WebServer(daemon, "--tls-certificate", str(certificate), "--tls-key", str(key)) as web:
        web.start()
        context = ssl.create_default_context(cafile=str(certificate))
        context.set_alpn_protocols(["h2", "http/1.1"])
        connection = http.client.HTTPSConnection("localhost", web.port, context=context, timeout=DEADLINE_S)
        connection.request("GET", "/v1/jobs", headers={"Authorization": f"Bearer {web.page_token}"})
        answer = connection.getresponse()

        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"]
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.selected_alpn_protocol() == "http/1.1"
        connection.close()
        assert web.end() == 0


def test_a_key_of_another_certificate_is_reported_at_the_start(daemon: Daemon, tmp_path: Path) -> None:
    certificate, _ = certified("localhost", tmp_path)
    _, other = certified("other", tmp_path)

    done = daemon.plasm(
        *("web", "--listen", "127.0.0.1:0", "--tls-certificate", str(certificate), "--tls-key", str(other)),
        check=False,
    )

    assert done.returncode == 3
    assert b"certificate" in done.stderr


def test_a_stopped_daemon_is_reported_and_its_restart_is_noticed(own_daemon: Daemon) -> None:
    with WebServer(own_daemon) as web:
        web.start()
        path = web.submit([("module", FOR_EVER)]).headers["location"]
        done = web.submit([("module", HELLO)], wait_s=60).headers["location"]
        own_daemon.kill()

        away = web.ask("GET", path)
        ready = web.ask("GET", "/readyz", token=None)
        health = web.ask("GET", "/healthz", token=None)
        kept = web.ask("GET", f"{done}/receipt")
        refused = web.submit([("module", HELLO)])

        assert (away.status, away.json["code"]) == (503, "node_unreachable")
        assert "plasmd" in away.json["hint"]
        assert (refused.status, refused.json["code"]) == (503, "node_unreachable")
        assert (ready.status, health.status, kept.status) == (503, 200, 200)
        own_daemon.start()
        assert web.ask("GET", "/readyz", token=None).status == 200
        job = web.ask("DELETE", path).json
        assert job["state"] == "CANCELED"
        assert events(web.ask("GET", f"{path}/events"))[-1][2] == job


def test_a_server_that_was_killed_forgets_no_job(own_daemon: Daemon) -> None:
    with WebServer(own_daemon) as web:
        web.start()
        running = web.submit([("module", FOR_EVER)]).headers["location"]
        ended = web.submit([("module", HELLO)], wait_s=60).headers["location"]
        before = web.ask("GET", ended).json
        assert web.end(signal.SIGKILL) != 0
        web.start()

        assert web.ask("GET", ended).json == before
        assert web.ask("DELETE", running).json["state"] == "CANCELED"
        assert web.ask("GET", f"{ended}/stdout").status == 200


def test_it_ends_while_clients_listen(own_daemon: Daemon) -> None:
    with WebServer(own_daemon) as web:
        web.start()
        path = web.submit([("module", FOR_EVER)]).headers["location"]
        connection = web.connect()
        connection.request("GET", f"{path}/events", headers={"Authorization": f"Bearer {web.page_token}"})
        answer = connection.getresponse()
        assert answer.readline()

        assert web.end() == 0

        connection.close()
    assert "Traceback" not in web.said


def test_metrics_are_openmetrics_with_those_of_the_daemon(web: WebServer) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    web.ask("GET", "/healthz")

    answer = web.ask("GET", "/metrics")

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}  # type: ignore[no-untyped-call]
    assert {"plasm_web_requests", "plasm_web_requests_open", "plasm_jobs_accepted"} <= names


def test_the_node_is_shown_with_its_checks(web: WebServer) -> None:
    answer = web.ask("GET", "/v1/node").json

    assert answer["capabilities"]["peer"] == answer["peerId"]
    assert {check["status"] for check in answer["checks"]} <= {"ok", "warning", "failure"}
    assert json.dumps(answer["checks"]).count("daemon") >= 1


def test_a_full_queue_is_reported_at_once_with_a_time_to_retry(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path, "--set", "queue.jobs=1", "--set", "limits.cpu=1") as daemon,
        WebServer(daemon) as web,
    ):
        daemon.start()
        web.start()
        jobs = [web.submit([("module", FOR_EVER)]) for _ in range(4)]

    assert jobs[0].status == 202
    assert (jobs[-1].status, jobs[-1].json["code"]) == (429, "queue_full")
    assert int(jobs[-1].headers["retry-after"]) == jobs[-1].json["retryAfterS"] > 0


def test_the_end_of_a_stream_ends_its_connection_or_leaves_it_usable(web: WebServer) -> None:
    """The client that waits for the connection's end, and the one that sends the next request on it, both get on."""
    paths = [f"{web.submit([('module', HELLO)]).headers['location']}/events" for _ in range(20)]

    for path in paths:
        with socket.create_connection(("127.0.0.1", web.port), timeout=30) as sock:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {web.page_token}\r\n\r\n"
            sock.sendall(head.encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
            assert b"event: end\n" in data
    connection = web.connect()
    for path in paths:
        connection.request("GET", path, headers={"Authorization": f"Bearer {web.page_token}"})
        assert b"event: end\n" in connection.getresponse().read()
    connection.close()
