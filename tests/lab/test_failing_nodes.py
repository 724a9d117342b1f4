"""A node is killed, stopped or cut off in the middle of a job: the client's job ends well on another."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.internet import Internet
from tests.lab.jobs import HELLO, LASTING_OUTPUT, lasting
from tests.lab.node import Client, Node, eventually

DEADLINE_S = 60.0
Cloud = tuple[Node, list[Node]]


@pytest.fixture(scope="module")
def cloud(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A node to begin at, and four that lend."""
    homes = tmp_path_factory.mktemp("cloud")
    with ExitStack() as stack:
        begin = stack.enter_context(Node(internet.host("begin"), homes / "begin"))
        begin.start()
        lenders = [
            stack.enter_context(Node(internet.host(name), homes / name, "--lend", bootstrap=begin.address))
            for name in ("first", "second", "third", "fourth")
        ]
        for node in lenders:
            node.launch()
        for node in lenders:
            node.wait_log(r"advertised classes=\d+ servers=[1-9]")
        yield begin, lenders


@pytest.fixture(scope="module")
def client(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client on a host of its own."""
    with Client(internet.host("client"), tmp_path_factory.mktemp("client") / "home") as made:
        yield made


def test_two_public_nodes_run_a_job_across_the_internet(cloud: Cloud, client: Client) -> None:
    begin, _ = cloud

    done = client.plasm("run", "--bootstrap", begin.address, str(HELLO), stdin=b"Hello, world")

    assert done.stdout == b"dlrow ,olleH"


def kill(node: Node, _internet: Internet) -> None:
    """End a node as a crash would."""
    node.kill()


def stop(node: Node, _internet: Internet) -> None:
    """Let a node stand still, with its connections open."""
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGSTOP)


def cut(node: Node, internet: Internet) -> None:
    """Take a node's cable out."""
    internet.cut(node.host)


def test_nodes_killed_stopped_and_cut_off_in_the_middle_of_a_job_are_replaced(
    cloud: Cloud, client: Client, internet: Internet, tmp_path: Path
) -> None:
    begin, lenders = cloud
    job = tmp_path / "lasting.wasm"
    job.write_bytes(lasting())
    healthy = list(lenders)
    failed: dict[Node, subprocess.Popen[bytes]] = {}
    ends: dict[Node, tuple[bytes, bytes]] = {}
    known = {node: len(node.log.read_text()) for node in lenders}

    def accepted() -> list[Node]:
        return [node for node in healthy if "job accepted" in node.log.read_text()[known[node] :]]

    with ExitStack() as stack:
        for fail in (cut, stop, kill):
            process = client.start("run", "--bootstrap", begin.address, "--limit", "gas=1e12", str(job))
            stack.callback(process.communicate)
            stack.callback(process.kill)
            eventually(lambda: bool(accepted()), "a node to accept the job")
            (node,) = accepted()
            fail(node, internet)
            healthy.remove(node)
            failed[node] = process
        for node, process in failed.items():
            ends[node] = process.communicate(timeout=DEADLINE_S)

    (survivor,) = healthy
    for node, process in failed.items():
        stdout, stderr = ends[node]
        assert process.returncode == 0, stderr.decode()
        assert stdout == LASTING_OUTPUT
        assert survivor.peer in stderr.decode()
