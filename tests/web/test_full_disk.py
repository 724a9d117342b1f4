"""A web server whose disk is full: it says so, leaves nothing half stored, and goes on when there is room again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.store.volume import SmallDisk, small_disk
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT
from tests.support.wat import writing
from tests.support.web_server import Answer, WebServer, form

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
MIB = 1 << 20
LOUD = writing(b"x" * 65_536, times=32)
"""Writes 2 MiB."""


@pytest.fixture
def batch_disk(daemon: Daemon) -> Iterator[SmallDisk]:
    """The disk of the batches, of 6 MiB."""
    with small_disk(daemon.state / "web" / "batches", 6 * MIB) as disk:
        yield disk


@pytest.fixture
def cache_disk(daemon: Daemon) -> Iterator[SmallDisk]:
    """The disk of what is received and kept, of 8 MiB."""
    with small_disk(Path(daemon.environ["XDG_CACHE_HOME"]), 8 * MIB) as disk:
        yield disk


@pytest.fixture
def web(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    """A server that was started when the disk was there."""
    with WebServer(daemon) as made:
        yield made


def posted(web: WebServer, jobs: int, module: bytes = HELLO) -> Answer:
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Prefer": "wait=60"}
    body = form("B", [("jobs", b"{}\n" * jobs), ("module", module)])
    return web.ask("POST", "/v1/batches", headers=headers, body=body)


def test_a_batch_that_does_not_fit_is_refused_whole(batch_disk: SmallDisk, web: WebServer) -> None:
    web.start()
    kept = posted(web, 1).json["batchId"]
    batch_disk.fill()

    refused = posted(web, 1)
    listed = web.ask("GET", "/v1/batches").json["batches"]
    folders = [path.name for path in batch_disk.path.iterdir() if path.is_dir()]
    batch_disk.clear()
    after = posted(web, 1)

    assert (refused.status, refused.json["code"]) == (503, "storage_full")
    assert [batch["batchId"] for batch in listed] == [kept]
    assert [name.rpartition("-")[2] for name in folders] == [kept]
    assert after.json["counts"]["succeeded"] == 1
    assert "Traceback" not in web.said


def test_a_batch_whose_results_do_not_fit_ends_and_leaves_the_others(
    batch_disk: SmallDisk, web: WebServer
) -> None:
    web.start()
    quiet = posted(web, 3).json["batchId"]

    loud = posted(web, 8, LOUD).json  # 16 MiB of output
    path = f"/v1/batches/{loud['batchId']}"
    others = web.ask("GET", f"/v1/batches/{quiet}/jobs/2/receipt")

    assert loud["state"] == "failed"
    assert "cannot write the batch" in loud["problem"]
    assert loud["counts"]["succeeded"] < 8
    assert others.status == 200, others.body
    assert web.ask("POST", f"{path}/release").status == 200
    after = posted(web, 3).json
    assert (after["state"], after["counts"]["succeeded"]) == ("ended", 3)
    assert "Traceback" not in web.said


def test_a_batch_that_a_full_disk_has_ended_stays_ended_after_a_restart(
    batch_disk: SmallDisk, web: WebServer
) -> None:
    web.start()
    path = f"/v1/batches/{posted(web, 8, LOUD).json['batchId']}"
    assert web.end() == 0
    web.start()

    found = web.ask("GET", path, headers={"Prefer": "wait=60"}).json

    assert found["state"] == "failed"
    assert web.ask("POST", f"{path}/release").status == 200
    assert posted(web, 1).json["counts"]["succeeded"] == 1


@pytest.mark.parametrize("name", ["file:in/data", "pack", "tree"])
def test_files_that_do_not_fit_are_refused_and_their_room_is_free_again(
    cache_disk: SmallDisk, web: WebServer, name: str
) -> None:
    web.start()
    before = cache_disk.free_bytes

    refused = web.submit([("module", HELLO), (name, os.urandom(12 * MIB))])

    assert (refused.status, refused.json["code"]) == (503, "storage_full")
    assert cache_disk.free_bytes > before - MIB
    small = web.submit([("module", HELLO), ("file:in/data", os.urandom(MIB))], wait_s=60)
    assert small.json["state"] == "COMPLETE"
    assert "Traceback" not in web.said


def test_a_module_that_cannot_be_kept_is_refused(cache_disk: SmallDisk, web: WebServer) -> None:
    web.start()
    cache_disk.fill()

    module = os.urandom(MIB)
    digest = hashlib.sha256(module).hexdigest()
    refused = web.ask("PUT", f"/v1/modules/{digest}", body=module)
    cache_disk.clear()

    assert (refused.status, refused.json["code"]) == (503, "storage_full")
    assert web.ask("PUT", f"/v1/modules/{digest}", body=module).status == 201
