"""Jobs with files on strangers' machines, by libp2p: sent, fetched, verified, taken from another node if need be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plasm_core import Client, JobResult
from plasm_core.testing.bench import MODULES
from tests.network.conftest import LABORATORY, Starter, address_of
from tests.network.test_liars import Liar, liar
from tests.network.test_network import peer_of, peers
from tests.support.daemon import Daemon

__all__ = ["liar"]
MODULE = str(MODULES / "files.wasm")
CONTENT = bytes(range(256)) * 4096
RUN = ("run", *LABORATORY, "--dir", "in:in", "--out", "out/:results", "--receipt", "r.json")


@pytest.fixture
def place(client: Daemon, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with input for the job, which is the current one."""
    directory = client.home / "place"
    (directory / "in").mkdir(parents=True)
    (directory / "in" / "data").write_bytes(CONTENT)
    monkeypatch.chdir(directory)
    return directory


def test_files_go_to_a_stranger_and_come_back(worker: Daemon, client: Daemon, place: Path) -> None:
    ran = client.plasm(*RUN, "--peer", address_of(worker), MODULE, check=False)
    verified = client.plasm(
        *("verify", "r.json", "--key", peer_of(worker), "--dir", "in:in", "--out", "out/:results")
    )

    assert ran.returncode == 0, ran.stderr.decode()
    assert (place / "results" / "copy").read_bytes() == CONTENT
    assert b"input files, output 'out' as expected" in verified.stdout
    (place / "results" / "copy").write_bytes(CONTENT[1:])
    flipped = client.plasm("verify", "r.json", "--out", "out/:results", check=False)
    assert flipped.returncode == 7


def test_a_submitted_job_is_listed_fetched_and_released(worker: Daemon, client: Daemon, place: Path) -> None:
    peer = ("--peer", address_of(worker), *LABORATORY)
    (place / "in" / "data").write_bytes(CONTENT[::-1])  # no other job's
    held = set((worker.state / "trees").glob("??/*"))
    handle = client.plasm("submit", *peer, "--dir", "in:in", "--out", "out/", MODULE).stdout.strip()
    (place / "handle").write_bytes(handle)
    result = client.plasm("result", "@handle", *peer, "--out", "all", check=False)
    listed = client.plasm("files", "@handle", *peer, "ls", "--json")
    shown = client.plasm("files", "@handle", *peer, "cat", "out/copy")
    client.plasm("release", "@handle", *peer)

    assert result.returncode == 0, result.stderr.decode()
    assert (place / "all" / "out" / "copy").read_bytes() == CONTENT[::-1]
    assert [item["path"] for item in json.loads(listed.stdout)] == [
        *("out", "out/copy", "out/sub", "out/sub/length")
    ]
    assert shown.stdout == CONTENT[::-1]
    assert set((worker.state / "trees").glob("??/*")) == held


def test_a_stranger_that_serves_other_files_is_left_for_another(
    start: Starter, bootstrap: str, worker: Daemon, liar: Liar, client: Daemon, place: Path
) -> None:
    forger = liar("other_files", "--bootstrap", bootstrap)
    peers(client, bootstrap, least=2)

    named = client.plasm(*RUN, "--peer", address_of(forger), MODULE, check=False)
    assert named.returncode == 7, named.stderr.decode()
    assert "is not the tree that the receipt states" in named.stderr.decode()
    assert not (place / "results").exists()
    ran = client.plasm(*RUN, "--bootstrap", address_of(forger), MODULE, check=False)

    assert ran.returncode == 0, ran.stderr.decode()
    assert (place / "results" / "copy").read_bytes() == CONTENT
    assert f"signed by {peer_of(worker)}" in ran.stderr.decode()


def test_files_from_a_stranger_are_checked_by_re_execution_here_and_on_a_second_node(
    start: Starter, bootstrap: str, worker: Daemon, client: Daemon, place: Path
) -> None:
    start("second", "--lend", "--bootstrap", bootstrap)
    peers(client, bootstrap, least=2)
    # Both are in one network here.
    two = [f"--set=verifier.quorum.{item}" for item in ("nodes=2", "networks=false", "apart_s=0")]
    for require, said in (("reexecution", "re-executed"), ("quorum", "2 nodes")):
        run = (*RUN, "--bootstrap", bootstrap, "--require", require, *two)
        ran = client.plasm(*run, MODULE, check=False)

        assert ran.returncode == 0, ran.stderr.decode()
        assert said in ran.stderr.decode()
        assert (place / "results" / "copy").read_bytes() == CONTENT
        for path in sorted((place / "results").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_a_gateway_hands_jobs_with_files_on(
    start: Starter, bootstrap: str, worker: Daemon, place: Path
) -> None:
    gateway = start("files-gateway", "--bootstrap", bootstrap, "--set", "gateway.enabled=true")

    ran = gateway.plasm("run", "--gateway", "--dir", "in:in", "--out", "out/:results", MODULE, check=False)

    assert ran.returncode == 0, ran.stderr.decode()
    assert (place / "results" / "copy").read_bytes() == CONTENT


def test_a_program_maps_files_over_strangers(
    worker: Daemon, client: Daemon, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in client.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLASM_DISCOVERY__KADEMLIA__ALLOW_PRIVATE", "true")
    inputs = [{"files": {"in/data": bytes([number]) * 1000}} for number in range(4)]
    with Client(peer=address_of(worker)) as strangers:
        for number, result in enumerate(strangers.map(MODULE, inputs, outputs=["out/"])):
            assert isinstance(result, JobResult)
            assert result.files["out/copy"].read() == bytes([number]) * 1000


def test_a_batch_with_files_on_strangers_accepts_no_false_files(
    start: Starter, bootstrap: str, worker: Daemon, liar: Liar, client: Daemon, place: Path
) -> None:
    forger = liar("other_files", "--bootstrap", bootstrap)
    peers(client, bootstrap, least=2)
    run = ("map", MODULE, "--range", "6", "--dir", "in:in", "--keep", "out/", "--out", "results", *LABORATORY)

    ran = client.plasm(*run, "--bootstrap", address_of(forger), "--format", "none", "--", "{}", check=False)

    assert ran.returncode == 0, ran.stderr.decode()
    for number in range(6):
        assert (place / "results" / f"{number:06d}" / "files" / "out" / "copy").read_bytes() == CONTENT
