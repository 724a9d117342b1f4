"""Jobs on strangers' machines: found, handed in, followed, verified."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wasmtime

from plasm_core import Client
from tests.network.conftest import HELLO, LABORATORY, Starter, address_of, network
from tests.support.daemon import Daemon
from tests.support.processes import descendants

DEADLINE_S = 60.0


def peer_of(daemon: Daemon) -> str:
    return address_of(daemon).rpartition("/")[2]


def slow_module(directory: Path) -> Path:
    """Write a module that runs for a second or more."""
    module = directory / "slow.wasm"
    module.write_bytes(
        wasmtime.wat2wasm(
            """(module (memory (export "memory") 1) (func (export "_start") (local i64)
                 (loop $l (local.set 0 (i64.add (local.get 0) (i64.const 1)))
                   (br_if $l (i64.lt_u (local.get 0) (i64.const 1500000000))))))"""
        )
    )
    return module


def peers(client: Daemon, bootstrap: str, *, least: int = 1) -> list[dict[str, object]]:
    """Return the peers that a client finds, once there are enough: nodes advertise in their own time."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        asked = client.plasm(
            "peers", "--json", "--timeout", "2s", "--bootstrap", bootstrap, *LABORATORY, check=False
        )
        found = json.loads(asked.stdout) if asked.stdout else []
        if len(found) >= least:
            return list(found)
        assert time.monotonic() < deadline, asked.stderr.decode()


def test_a_client_that_knows_only_the_bootstrap_node_finds_lending_nodes(
    client: Daemon, bootstrap: str, worker: Daemon
) -> None:
    found = peers(client, bootstrap)

    assert [item["peerId"] for item in found] == [peer_of(worker)]
    record = found[0]["capabilities"]
    assert isinstance(record, dict)
    assert record["lends"] is True
    assert record["engines"][0]["name"] == "wasmtime"


def test_a_job_runs_on_a_strangers_node(
    client: Daemon, bootstrap: str, worker: Daemon, tmp_path: Path
) -> None:
    peers(client, bootstrap)
    receipt = tmp_path / "receipt.json"

    ran = client.plasm(
        *("run", "--bootstrap", bootstrap, *LABORATORY, "--receipt", str(receipt), str(HELLO)),
        stdin=b"Hello, world",
    )
    verified = client.plasm("verify", str(receipt), "--key", peer_of(worker), check=False)

    assert ran.stdout == b"dlrow ,olleH"
    assert f"receipt verified ✓ signed by {peer_of(worker)}" in ran.stderr.decode()
    assert verified.returncode == 0, verified.stderr.decode()


def test_a_single_lending_node_is_found_through_itself(start: Starter, client: Daemon) -> None:
    """The client knows it as the one to begin at, not as the one to run the job."""
    alone = start("alone", "--lend")

    ran = client.plasm(
        "run", "--bootstrap", address_of(alone), *LABORATORY, str(HELLO), stdin=b"abc", check=False
    )

    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout == b"cba"
    assert f"signed by {peer_of(alone)}" in ran.stderr.decode()


def test_a_handle_finds_its_node_again(client: Daemon, bootstrap: str, worker: Daemon) -> None:
    peers(client, bootstrap)
    reach = ("--bootstrap", bootstrap, *LABORATORY)
    handle = client.plasm("submit", *reach, str(HELLO), stdin=b"abc").stdout.decode().strip()

    assert client.plasm("result", *reach, handle).stdout == b"cba"
    assert json.loads(client.plasm("release", *reach, handle, "--json").stdout)["state"] == "COMPLETE"


def test_a_node_that_is_pinned_is_asked_and_no_other(client: Daemon, worker: Daemon) -> None:
    ran = client.plasm("run", "--peer", address_of(worker), *LABORATORY, str(HELLO), stdin=b"abc")

    assert ran.stdout == b"cba"


def test_a_node_that_does_not_lend_refuses_strangers(client: Daemon, bootstrap: str) -> None:
    refused = client.plasm("run", "--peer", bootstrap, *LABORATORY, str(HELLO), check=False)

    assert refused.returncode == 1
    assert "runs its own users' jobs only" in refused.stderr.decode()


def test_a_pinned_identity_that_another_answers_for_is_refused(
    client: Daemon, bootstrap: str, worker: Daemon
) -> None:
    where = address_of(worker).rpartition("/p2p/")[0]
    swapped = f"{where}/p2p/{bootstrap.rpartition('/')[2]}"

    refused = client.plasm("run", "--peer", swapped, *LABORATORY, str(HELLO), check=False)

    assert refused.returncode == 5
    assert refused.stdout == b""


def test_a_gateway_hands_jobs_on_and_names_who_signed(
    start: Starter, bootstrap: str, worker: Daemon, client: Daemon
) -> None:
    peers(client, bootstrap)
    gateway = start("gateway", "--bootstrap", bootstrap, "--set", "gateway.enabled=true")

    handle = gateway.plasm("submit", "--gateway", str(HELLO), stdin=b"abc").stdout.decode().strip()
    result = gateway.plasm("result", handle)

    assert result.stdout == b"cba"
    assert f"signed by {peer_of(worker)}" in result.stderr.decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at the descriptors of a daemon")
def test_a_gateway_opens_no_port(bootstrap: str, worker: Daemon, client: Daemon, tmp_path: Path) -> None:
    """The recipe of docs/network.md and php/README.md: it must not offer the machine to the world."""
    peers(client, bootstrap)
    with Daemon(tmp_path, "--gateway", "--bootstrap", bootstrap, *LABORATORY) as gateway:
        gateway.start(until=" ready peer=")
        result = gateway.plasm("run", "--gateway", str(HELLO), stdin=b"abc")
        assert gateway.process is not None
        assert worker.process is not None
        ports = listening(gateway.process.pid)
        assert len(listening(worker.process.pid)) == 1, "a node's port is seen"
        said = gateway.log.read_text()

    assert result.stdout == b"cba"
    assert f"signed by {peer_of(worker)}" in result.stderr.decode()
    assert ports == []
    assert "listening transport=libp2p" not in said
    assert "mapping" not in said


def listening(pid: int) -> list[int]:
    """Return the TCP ports on which a process and those that it started listen."""
    own = set()
    for process in {pid, *descendants(pid)}:
        with contextlib.suppress(FileNotFoundError):  # an idle worker may end meanwhile
            for entry in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    own.add(os.readlink(entry))
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [
        int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own
    ]


def test_a_gateway_continues_with_another_node_when_one_dies(
    start: Starter, client: Daemon, tmp_path: Path
) -> None:
    hub = address_of(start("hub"))
    nodes = {peer_of(node): node for node in (start(name, "--lend", "--bootstrap", hub) for name in "ab")}
    peers(client, hub, least=2)
    gateway = start("gateway", "--bootstrap", hub, "--set", "gateway.enabled=true")
    limits = ("--limit", "gas=1e12", "--limit", "wall=300s")

    submitted = gateway.plasm("submit", "--gateway", str(slow_module(tmp_path)), *limits)
    first = holders(gateway, least=1)[0]
    nodes[first].kill()
    result = gateway.plasm("result", submitted.stdout.decode().strip(), check=False)

    assert result.returncode == 0, result.stderr.decode() + gateway.said
    assert f"signed by {next(peer for peer in nodes if peer != first)}" in result.stderr.decode()
    assert "run failed" not in gateway.log.read_text()


def holders(gateway: Daemon, *, least: int) -> list[str]:
    """Return the nodes that took a gateway's jobs, once there are enough."""
    deadline = time.monotonic() + DEADLINE_S
    while len(found := re.findall(r"job handed on job=\S+ node=(\S+)", gateway.log.read_text())) < least:
        assert time.monotonic() < deadline, gateway.said
        time.sleep(0.02)
    return found


def test_a_daemon_that_is_no_gateway_says_so(worker: Daemon) -> None:
    refused = worker.plasm("submit", "--gateway", str(HELLO), check=False)

    assert refused.returncode == 1
    assert "gateway.enabled=true" in refused.stderr.decode()


def test_a_node_that_dies_with_a_job_is_replaced(
    start: Starter, bootstrap: str, client: Daemon, worker: Daemon, tmp_path: Path
) -> None:
    """The client is asked for nothing: the job ends on the other node."""
    module = slow_module(tmp_path)
    doomed = start("doomed", "--lend", "--bootstrap", bootstrap)
    peers(client, bootstrap, least=2)
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "plasm_core.cli", "run", "--bootstrap", bootstrap, *LABORATORY),
            *(str(module), "--limit", "gas=1e12", "--limit", "wall=300s", "--json"),
        ],
        env=client.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    nodes = {"doomed": doomed, "worker": worker}
    taken: list[str] = []
    deadline = time.monotonic() + DEADLINE_S
    accepted = {name: node.log.read_text().count("job accepted") for name, node in nodes.items()}
    while not taken:
        taken = [
            name
            for name, node in nodes.items()
            if node.log.read_text().count("job accepted") > accepted[name]
        ]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    nodes[taken[0]].kill()
    stdout, stderr = running.communicate(timeout=120)
    survivor = next(node for name, node in nodes.items() if name != taken[0])

    assert running.returncode == 0, stderr.decode()
    assert json.loads(stdout)["verdict"]["signer"] == peer_of(survivor)


@pytest.mark.parametrize("text", ["nonsense", "/ip4/127.0.0.1/tcp/1/p2p/nonsense"])
def test_an_invalid_peer_is_reported(client: Daemon, text: str) -> None:
    refused = client.plasm("run", "--peer", text, str(HELLO), check=False)

    assert refused.returncode == 3
    assert "neither a PeerId nor an address" in refused.stderr.decode()


def test_without_any_node_the_client_fails_before_its_deadline(client: Daemon) -> None:
    nowhere = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"

    refused = client.plasm("run", "--bootstrap", nowhere, *LABORATORY, str(HELLO), check=False)

    assert refused.returncode == 5
    assert "no node was found" in refused.stderr.decode()


def test_a_node_that_knows_no_other_is_found_by_its_address(client: Daemon, tmp_path: Path) -> None:
    """Without a setting, although its address is private: the user named it. PHP does the same."""
    listen = ("--transport", "libp2p", "--set", 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]')
    (tmp_path / "alone").mkdir()
    with Daemon(tmp_path / "alone", *listen, "--lend") as alone:
        alone.start(until=" ready peer=")
        found = client.plasm("peers", "--bootstrap", address_of(alone), "--json")
        ran = client.plasm("run", "--bootstrap", address_of(alone), str(HELLO), stdin=b"abc")
        other = client.plasm(
            *("run", "--bootstrap", address_of(alone), "--node-class", "engine/none", str(HELLO)), check=False
        )

    assert [node["peerId"] for node in json.loads(found.stdout)] == [peer_of(alone)]
    assert ran.stdout == b"cba"
    assert other.returncode == 5
    assert "it is not of the class engine/none" in other.stderr.decode()


def test_a_program_finds_nodes_as_the_commands_do(
    start: Starter, client: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By what it is given, or by the user's configuration."""
    bootstrap = address_of(start("program-hub"))
    worker = start("program-worker", "--lend", "--bootstrap", bootstrap)
    peers(client, bootstrap)
    for name, value in client.environ.items():
        if name.startswith("XDG_"):
            monkeypatch.setenv(name, value)
    file = tmp_path / "plasm.toml"
    file.write_text(f'[discovery.kademlia]\nallow_private = true\nbootstrap = ["{bootstrap}"]\n')

    with Client(bootstrap=bootstrap) as given, Client(file, transport="libp2p") as configured:
        first = given.run(HELLO, stdin=b"abc", timeout_s=60)
        second = configured.run(HELLO, stdin=b"abc", timeout_s=60)

    assert (first.stdout, second.stdout) == (b"cba", b"cba")
    assert str(first.verdict.signer) == str(second.verdict.signer) == peer_of(worker)
    assert "a node that you do not know" in str(first.verdict)


def test_all_receipts_of_a_quorum_are_kept(start: Starter, client: Daemon, tmp_path: Path) -> None:
    hub = address_of(start("quorum-hub"))
    nodes = {
        peer_of(start(f"quorum-{name}", "--lend", "--bootstrap", hub, *network(number)))
        for number, name in enumerate("ab", 1)
    }
    peers(client, hub, least=2)
    receipts = [tmp_path / name for name in ("r.json", "r-2.json")]

    two = ("--require", "quorum", "--set", "verifier.quorum.nodes=2", "--set", "verifier.quorum.apart_s=0")
    ran = client.plasm(
        *("run", "--bootstrap", hub, *LABORATORY, *two, "--receipt", str(receipts[0])),
        *("--stdin", "/dev/null", str(HELLO)),
    )
    keys = [item for peer in nodes for item in ("--key", peer)]
    checked = client.plasm("verify", *map(str, receipts), *keys, *two)

    assert "agreed on by 2 nodes" in ran.stderr.decode()
    assert "agreed on by 2 nodes" in checked.stdout.decode()
    assert {peer for peer in nodes if peer in checked.stdout.decode()} == nodes


def test_a_node_that_does_not_lend_is_not_found_by_its_address(client: Daemon, start: Starter) -> None:
    alone = address_of(start("keeps"))

    found = client.plasm("peers", "--bootstrap", alone, "--json")
    ran = client.plasm("run", "--bootstrap", alone, str(HELLO), check=False)

    assert (json.loads(found.stdout), ran.returncode) == ([], 5)
    assert "it does not lend" in ran.stderr.decode()
