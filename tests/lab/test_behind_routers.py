"""Nodes at home behind routers: they know the truth about themselves, and every client gets through to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.internet import Internet
from tests.lab.jobs import HELLO, LASTING_OUTPUT, lasting
from tests.lab.nat import Nat
from tests.lab.node import Client, Node, eventually, has_miniupnpd, has_php
from tests.lab.world import World, is_settled, open_world

LENDERS = tuple(nat for nat in Nat if nat is not Nat.NONE)
PAIRS = (
    (Nat.NONE, Nat.PORT_RESTRICTED),
    (Nat.FULL_CONE, Nat.ADDRESS_RESTRICTED),
    (Nat.ADDRESS_RESTRICTED, Nat.PORT_RESTRICTED),
    (Nat.PORT_RESTRICTED, Nat.UPNP),
    (Nat.PORT_RESTRICTED, Nat.SYMMETRIC),
    (Nat.SYMMETRIC, Nat.SYMMETRIC),
    (Nat.SYMMETRIC, Nat.FULL_CONE),
    (Nat.UDP_BLOCKED, Nat.UDP_BLOCKED),
)
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def world(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not has_miniupnpd():
        pytest.skip("miniupnpd is not installed (Debian: apt install miniupnpd-nftables)")
    clients = tuple(dict.fromkeys(client for client, _ in PAIRS))
    with open_world(internet, tmp_path_factory.mktemp("world"), lenders=LENDERS, clients=clients) as made:
        yield made


@pytest.mark.parametrize("nat", LENDERS, ids=lambda nat: nat.value)
def test_a_node_knows_whether_strangers_reach_it(world: World, nat: Nat) -> None:
    node = world.lenders[nat]

    eventually(lambda: is_settled(node, nat), f"the truth about {nat.value}")

    checks = node.health()
    mapped = [check for name, check in checks.items() if name.startswith("mapping ")]
    assert bool(mapped) == (nat is Nat.UPNP)
    assert "192.168." not in checks["advertised"].found


def test_the_doctor_says_what_stands_in_the_way_and_what_to_do(world: World) -> None:
    node = world.lenders[Nat.PORT_RESTRICTED]
    eventually(lambda: is_settled(node, Nat.PORT_RESTRICTED), "the truth")

    checks = node.doctor()

    assert checks["reachability"]["status"] == "warning"
    assert "UPnP" in checks["reachability"]["hint"]
    evidence = checks[f"reachability /ip4/{node.host.public_address}/tcp/4001"]["found"]
    assert evidence.startswith("private: 12D3KooW")
    assert checks[f"bootstrap {world.begin.address}"]["status"] == "ok"


def test_every_client_gets_its_job_run_behind_every_router(world: World) -> None:
    world.settle(tuple(dict.fromkeys(lender for _, lender in PAIRS)))
    running: list[tuple[str, Node, subprocess.Popen[bytes]]] = []
    failed = []
    try:
        for client, lender in PAIRS:
            node = world.lenders[lender]
            process = _run(world.clients[client], world, node, HELLO)
            running.append((f"{client.value} to {lender.value}", node, process))
        for pair, node, process in running:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
            if process.returncode or stdout != b"dlroW ,olleH\n" or node.peer not in stderr.decode():
                failed.append(f"{pair}: {stderr.decode()}")
    finally:
        for *_, process in running:
            process.kill()
            process.communicate()

    assert not failed, "\n".join(failed)


def test_a_hole_is_punched_while_a_job_runs_which_does_not_notice(world: World, tmp_path: Path) -> None:
    world.settle((Nat.PORT_RESTRICTED,))
    node = world.lenders[Nat.PORT_RESTRICTED]
    job = tmp_path / "lasting.wasm"
    job.write_bytes(lasting())
    before = len(node.log.read_text())
    process = _run(world.clients[Nat.ADDRESS_RESTRICTED], world, node, job)
    try:
        node.wait_log(" hole punched peer=", since=before)
        assert process.poll() is None
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 0, stderr.decode()
    assert stdout == LASTING_OUTPUT
    assert node.log.read_text()[before:].count("job accepted") == 1


def test_a_job_survives_the_death_of_the_relay_that_its_client_goes_through(
    world: World, tmp_path: Path
) -> None:
    world.settle((Nat.SYMMETRIC,))
    node = world.lenders[Nat.SYMMETRIC]
    job = tmp_path / "lasting.wasm"
    job.write_bytes(lasting())
    known = {relay: len(relay.log.read_text()) for relay in world.relays}
    before = len(node.log.read_text())
    carrying: Node | None = None
    process = _run(world.clients[Nat.SYMMETRIC], world, node, job)
    try:
        eventually(lambda: "job accepted" in node.log.read_text()[before:], "the job to be accepted")
        carrying = next(relay for relay in world.relays if _carries(relay.log.read_text()[known[relay] :]))
        carrying.kill()
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        # Before it starts again: a node would go on with a relay that was away for a moment only.
        node.wait_log(f"lost the relay {carrying.peer}", since=before)
    finally:
        process.kill()
        process.communicate()
        if carrying is not None:
            carrying.start()

    assert process.returncode == 0, stderr.decode()
    assert stdout == LASTING_OUTPUT
    assert node.peer in stderr.decode()
    assert carrying is not None
    assert f"lost the relay {carrying.peer}" in node.doctor()["changed"]["found"]


@pytest.mark.skipif(not has_php(), reason="PHP 8.2 or newer with sodium is not installed")
def test_php_gets_its_jobs_run_by_nodes_that_only_relays_lead_to(world: World, tmp_path: Path) -> None:
    nats = (Nat.PORT_RESTRICTED, Nat.SYMMETRIC, Nat.UDP_BLOCKED)
    world.settle(nats)
    script = Path(__file__).with_name("php_client.php")
    begin = ",".join(
        relay.address for relay in world.relays
    )  # one may have been started again, knowing nobody
    for nat in nats:
        node = world.lenders[nat]
        command = ("php", str(script), begin, node.peer, str(tmp_path / nat.value))
        done = subprocess.run(
            world.clients[Nat.SYMMETRIC].host.namespace.command(*command),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        said = json.loads(done.stdout)
        assert said["stdout"] == "dlroW ,olleH"
        assert f"signed by {node.peer}" in said["verdict"]
        assert said["reached"]
        assert all(address.endswith(f"/p2p-circuit/p2p/{node.peer}") for address in said["reached"])


def _carries(log: str) -> bool:
    return log.count("circuit begun") > log.count("circuit ended")


def _run(client: Client, world: World, node: Node, job: Path) -> subprocess.Popen[bytes]:
    return client.start(
        *("run", "--bootstrap", world.begin.address, "--peer", node.peer, "--limit", "gas=1e12"),
        *("--verifier", "signature", str(job)),
    )
