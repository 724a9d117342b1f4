"""Tokens and their scopes, Host, Origin, and the headers of each answer."""

from __future__ import annotations

import hashlib
import http.client
import stat
from collections.abc import Iterator

import pytest

from tests.support.receipts import ROOT
from tests.support.wat import starting
from tests.support.web_server import WebServer

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
FOR_EVER = starting("(loop $l (br $l))")


def test_without_a_token_only_health_is_answered(web: WebServer) -> None:
    for path in ("/v1/jobs", "/v1/node", "/v1/peers", "/metrics", f"/v1/jobs/{'0' * 64}"):
        answer = web.ask("GET", path, token=None)
        assert (answer.status, answer.json["code"]) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/v1/openapi.json"):
        assert web.ask("GET", path, token=None).status == 200


@pytest.mark.parametrize("given", ["Bearer wrong", "Basic cGFnZTpwYWdl", "Bearer", "phaseweb-x"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(web: WebServer, given: str) -> None:
    assert web.ask("GET", "/healthz", token=None, headers={"Authorization": given}).status == 401


def test_a_token_does_what_its_scope_permits_with_its_own_jobs(web: WebServer) -> None:
    reader, one, other = (
        web.make_token("reader", "read"),
        web.make_token("one"),
        web.make_token("other", "submit", "read"),
    )

    refused = web.submit([("module", HELLO)], token=reader)
    job = web.submit([("module", HELLO)], token=one, wait_s=60)
    path = job.headers["location"]

    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert web.ask("GET", path, token=one).status == 200
    assert web.ask("GET", path, token=other).status == 404
    assert web.ask("DELETE", path, token=other).status == 404
    assert web.ask("GET", "/v1/jobs", token=other).json == {"jobs": []}
    assert web.ask("GET", path).status == 200, "the page's token has the scope admin"
    assert web.ask("GET", f"{path}/handle", token=reader).status == 403


def test_one_manifest_of_two_tokens_is_two_jobs_and_the_running_one_is_the_admins(web: WebServer) -> None:
    one, other = web.make_token("first"), web.make_token("second")
    path = web.submit([("module", FOR_EVER)], token=one).headers["location"]
    manifest = web.ask("GET", f"{path}/manifest", token=one).body
    web.submit([("module", FOR_EVER), ("manifest", manifest)], token=other)

    assert web.ask("DELETE", path, token=other).json["state"] == "CANCELED"

    assert web.ask("GET", path, token=one).json["state"] in ("QUEUED", "RUNNING")
    assert web.ask("DELETE", path).json["state"] == "CANCELED"
    assert web.ask("GET", path, token=one).json["state"] == "CANCELED"


def test_a_revoked_token_is_of_no_use_from_then_on(web: WebServer) -> None:
    token = web.make_token("brief", "read")
    before = web.ask("GET", "/v1/jobs", token=token).status

    web.daemon.plasm("web", "token", "revoke", "brief")

    assert (before, web.ask("GET", "/v1/jobs", token=token).status) == (200, 401)


def test_a_revoked_token_gets_nothing_more_on_open_streams(web: WebServer) -> None:
    token = web.make_token("listening")
    path = web.submit([("module", FOR_EVER)], token=token).headers["location"]
    streams = []
    for part in ("events", "stdout?follow=true"):
        connection = web.connect()
        connection.request("GET", f"{path}/{part}", headers={"Authorization": f"Bearer {token}"})
        streams.append((connection, connection.getresponse()))

    web.daemon.plasm("web", "token", "revoke", "listening")
    web.ask("DELETE", path)

    told = streams[0][1].read().decode()
    with pytest.raises(http.client.IncompleteRead):
        streams[1][1].read()
    for connection, _ in streams:
        connection.close()
    assert "event: end" not in told
    assert '"code":"unauthorized"' in told.rpartition("event: problem")[2]


def test_a_token_revoked_during_an_upload_stores_nothing(web: WebServer) -> None:
    token = web.make_token("sending")

    def body() -> Iterator[bytes]:
        yield HELLO[:100]
        web.daemon.plasm("web", "token", "revoke", "sending")
        yield HELLO[100:]

    path = f"/v1/modules/{hashlib.sha256(HELLO).hexdigest()}"

    assert web.ask("PUT", path, token=token, body=body()).status == 401


def test_tokens_are_kept_as_digests_in_a_private_file(web: WebServer) -> None:
    token = web.make_token("kept", "read")

    path = web.daemon.state / "web" / "tokens.json"

    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("page.token").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    listed = web.daemon.plasm("web", "token", "list").stdout.decode()
    assert "kept" in listed
    assert token not in listed


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8750", 200),
        ("[::1]:8750", 200),
        ("attacker.example", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("localhost@attacker.example", 400),
        ("local host", 400),
        ("", 400),
    ],
)
def test_only_names_of_this_server_are_served(web: WebServer, host: str, status: int) -> None:
    """A name that an attacker points at 127.0.0.1 would make this server that page's own origin (DNS rebinding)."""
    assert web.ask("GET", "/healthz", headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_origins_are_refused(web: WebServer, headers: dict[str, str], status: int) -> None:
    given = {name: value.format(port=web.port) for name, value in headers.items()}

    answer = web.ask("GET", "/v1/jobs", headers=given)

    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_named_origin_may_read_answers_and_ask_first(web: WebServer) -> None:
    with WebServer(web.daemon, "--allow-origin", "https://app.example") as other:
        other.start()
        asked = other.ask("OPTIONS", "/v1/jobs", token=None, headers={"Origin": "https://app.example"})
        answer = other.ask("GET", "/v1/jobs", headers={"Origin": "https://app.example"})

    assert asked.status == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/jobs", "/healthz", "/", "/nothing", "/v1/openapi.json"])
def test_every_answer_has_the_headers_that_protect_a_browser(web: WebServer, path: str) -> None:
    answer = web.ask("GET", path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers


def test_beyond_loopback_it_needs_tls_and_a_token(web: WebServer) -> None:
    plain = web.daemon.plasm("web", "--listen", "0.0.0.0:0", check=False)

    assert plain.returncode == 3
    assert b"--behind-proxy" in plain.stderr


def test_a_trace_id_is_carried_into_the_log(web: WebServer) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"

    web.ask("GET", "/healthz", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    web.ask("GET", "/healthz", headers={"traceparent": "00-nonsense\x01-1-1"})

    assert f"trace={trace}" in web.said
    assert "nonsense" not in web.said
