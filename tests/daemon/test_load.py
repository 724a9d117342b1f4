"""More clients, and more jobs, than there is room for."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from plasm_core.client import Client, Submission
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.protocol import METRICS_PROTOCOL
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import NOTHING, Accepted, Offered, Submit
from tests.daemon.conftest import HELLO, REPOSITORY
from tests.daemon.test_operation import spinning
from tests.support.conversing import Caller, accept, calling
from tests.support.daemon import Daemon

SLOW = 50
LIMITS = ("limits.cpu=1", "queue.jobs_per_client=2", "queue.offers_per_client=2")


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon with room for little."""
    with Daemon(tmp_path, *(word for item in LIMITS for word in ("--set", item))) as made:
        made.start()
        monkeypatch.setenv("PLASM_SOCKET", str(made.socket))
        yield made


class Dribble:
    """A client that sends a byte now and then: of an upload, or of the message that it begins with."""

    def __init__(self, caller: Caller, *, uploads: bool) -> None:
        self.caller, self.uploads = caller, uploads
        self.job = Submission.of(HELLO.read_bytes(), stdin=bytes(1000))
        self.sent = 0
        if uploads:
            caller.submit(self.job)
            caller.expect(Offered)
        else:
            request = Submit(
                manifest=self.job.manifest_json.decode(),
                token=self.job.handle(caller.peer).token().hex(),
                sizes=self.job.sizes,
                credit=NOTHING,
            )
            self.message = caller.conversation.ask(request)

    def send(self) -> None:
        """Send the next byte."""
        if self.uploads:
            self.caller.sock.sendall(self.caller.conversation.upload(Channel.STDIN, b"x"))
        else:
            self.caller.sock.sendall(self.message[self.sent : self.sent + 1])
        self.sent += 1


def test_fifty_clients_that_send_a_byte_a_second_do_not_stop_a_fast_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
    Client().run(HELLO.read_bytes(), timeout_s=60)
    ending, failures = threading.Event(), list[OSError]()
    with ExitStack() as stack:
        slow = [
            Dribble(stack.enter_context(calling(daemon.socket)), uploads=number % 2 == 0)
            for number in range(SLOW)
        ]

        def dribble() -> None:
            try:
                while not ending.wait(1):
                    for each in slow:
                        each.send()
            except OSError as exc:
                failures.append(exc)

        thread = threading.Thread(target=dribble)
        thread.start()
        took_s: list[float] = []
        while len(took_s) < 3 or min(each.sent for each in slow) < 3:
            began = time.monotonic()
            result = Client().run(HELLO.read_bytes(), stdin=b"fast", timeout_s=60)
            took_s.append(time.monotonic() - began)
            assert result.stdout == b"tsaf"
        ending.set()
        thread.join()
        assert daemon.process is not None
        assert not failures
        assert all(
            each.caller.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
            for each in slow
            if _has_news(each)
        )

    assert min(took_s) < 5


def _has_news(each: Dribble) -> bool:
    """Return whether the daemon has said anything more: a heartbeat, or that it closes."""
    return bool(select.select([each.caller.sock], [], [], 0)[0])


def test_more_uploads_at_once_than_allowed_are_put_off(narrow: Daemon) -> None:
    with calling(narrow.socket) as one, calling(narrow.socket) as two, calling(narrow.socket) as three:
        for caller in (one, two):
            caller.submit(spinning())
            caller.expect(Offered)
        three.submit(spinning())
        refused = three.refusal()

    assert refused.reason in ("too_many_offers", "queue_full")
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0


def test_small_jobs_begun_at_once_wait_a_moment_for_a_place_and_are_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused client asks again 5 s later, though uploads of small jobs take milliseconds."""
    narrow = ("--set", "queue.offers_per_client=2")
    with Daemon(tmp_path, *narrow, program="tests.support.patient_node") as daemon:
        daemon.start()
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        with Client() as first:  # compiles the module, which an upload's place is kept for
            first.run(HELLO.read_bytes(), stdin=b"abc", timeout_s=60)
        callers = [Client() for _ in range(12)]
        with ThreadPoolExecutor(len(callers)) as pool:
            jobs = [pool.submit(caller.run, HELLO.read_bytes(), stdin=b"abc") for caller in callers]
            outputs = [job.result(60).stdout for job in jobs]
        for caller in callers:
            caller.close()
        counted = trio.run(ask, Config(), METRICS_PROTOCOL).decode()

    refused = [line for line in counted.splitlines() if "too_many_offers" in line]
    assert outputs == [b"cba"] * len(callers)
    assert refused == ['plasm_jobs_refused_total{reason="too_many_offers"} 0']


def test_a_full_queue_says_when_to_come_back_and_takes_jobs_again(narrow: Daemon) -> None:
    jobs = [spinning() for _ in range(3)]
    handles = []
    for number, job in enumerate(jobs):
        with calling(narrow.socket) as caller:
            handles.append(accept(caller, job))
        while number == 0 and Client().status(handles[0]).state == "QUEUED":
            pass
    with calling(narrow.socket) as caller:
        caller.submit(spinning())
        refused = caller.refusal()
    with calling(narrow.socket) as caller:  # what was accepted is known, however full the queue is
        caller.submit(jobs[2], NOTHING)
        again = caller.receive()
    Client().cancel(handles[2])
    with calling(narrow.socket) as caller:
        handles.append(accept(caller, spinning()))
    for handle in handles:
        Client().cancel(handle)

    assert refused.reason == "queue_full"
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    assert not isinstance(again, (Offered, Accepted))
    assert getattr(again, "job_id", None) == handles[2].job_id


def test_the_library_waits_for_a_place(narrow: Daemon) -> None:
    jobs = [spinning(200_000_000) for _ in range(6)]

    handles = [Client().submit(job, timeout_s=100) for job in jobs]
    results = [Client().result(handle, timeout_s=100) for handle in handles]

    assert {result.receipt.result.outcome.kind for result in results} == {"out_of_gas"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user as well")
def test_a_crowd_is_served_in_a_fair_order_within_a_bounded_memory(tmp_path: Path) -> None:
    """The short form of what benchmarks/results/crowd.txt records."""
    command = [sys.executable, "-m", "tests.daemon.crowd", str(tmp_path), "--jobs", "100"]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["served"] == 100
    assert report["latecomer_position"] <= 3, report
    assert report["ended_before_latecomer"] <= 10, report
    assert report["rss_mib_peak"] - report["rss_mib_before"] < 64, report
