"""Routers reboot, addresses change and relays die, around jobs and in the middle of them.

The job ends well, the node finds out, `plasm doctor` says what happened, and a stranger's next job gets there.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest

from tests.lab.internet import Host, Internet, Router
from tests.lab.jobs import HELLO, LASTING_OUTPUT, lasting
from tests.lab.nat import Nat
from tests.lab.node import Client, Node, eventually, has_miniupnpd
from tests.lab.world import TRUTH, World, is_settled, open_world

FORWARDING = (Nat.UPNP,) if has_miniupnpd() else ()
LENDERS = (Nat.NONE, Nat.FULL_CONE, Nat.PORT_RESTRICTED, Nat.SYMMETRIC, *FORWARDING)
BEHIND_ROUTERS = LENDERS[1:]
STRANGERS = (Nat.ADDRESS_RESTRICTED, Nat.UDP_BLOCKED)
"""They prove to others that these are reached."""
CLIENT = Nat.ADDRESS_RESTRICTED
ADVERTISED_S = 60.0
"""How soon a changed address is advertised (docs/network.md)."""
DEADLINE_S = 120.0
ROUNDS = 4_000_000_000


@pytest.fixture(scope="module")
def world(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    homes = tmp_path_factory.mktemp("world")
    with open_world(internet, homes, lenders=(*LENDERS, *STRANGERS), clients=(CLIENT,)) as made:
        yield made


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that outlasts what happens to its node."""
    path = tmp_path_factory.mktemp("job") / "lasting.wasm"
    path.write_bytes(lasting(ROUNDS))
    return path


@contextmanager
def in_the_middle_of_jobs(
    world: World, nats: tuple[Nat, ...], job: Path, happens: Callable[[Nat, Node], None]
) -> Iterator[None]:
    """Run a job on each of some nodes, and let something happen to the node meanwhile.

    At the end of the context see the jobs end well, and there.
    """
    world.settle(nats)
    known = {nat: len(world.lenders[nat].log.read_text()) for nat in nats}
    with ExitStack() as stack:
        running: list[tuple[Nat, Node, subprocess.Popen[bytes]]] = []
        for nat in nats:
            node = world.lenders[nat]
            process = _run(world.clients[CLIENT], world, node, job)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            node.wait_log("job accepted", since=known[nat])
            happens(nat, node)
            running.append((nat, node, process))
        yield
        for nat, node, process in running:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, f"{stderr.decode()}\n{node.said}"
            assert stdout == LASTING_OUTPUT
            assert node.peer in stderr.decode()
            assert node.log.read_text()[known[nat] :].count("job accepted") == 1


def a_new_job_reaches(world: World, nats: tuple[Nat, ...]) -> None:
    """Have one who has never heard of the nodes run a job on each of them."""
    with ExitStack() as stack:
        processes = [_run(world.clients[CLIENT], world, world.lenders[nat], HELLO) for nat in nats]
        for process in processes:
            stack.callback(process.communicate)
            stack.callback(process.kill)
        for nat, process in zip(nats, processes, strict=True):
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, f"{nat.value}: {stderr.decode()}\n{world.lenders[nat].said}"
            assert stdout == b"dlroW ,olleH\n"
            assert world.lenders[nat].peer in stderr.decode()


def test_a_job_survives_reboots_of_its_nodes_router(world: World, job: Path) -> None:
    nodes = {nat: world.lenders[nat] for nat in BEHIND_ROUTERS}
    known = {nat: len(node.log.read_text()) for nat, node in nodes.items()}

    def reboot(_nat: Nat, node: Node) -> None:
        _router(node.host).reboot()  # too fast to be noticed, but nobody gets in by what was opened before
        _router(node.host).switch_off()

    with in_the_middle_of_jobs(world, BEHIND_ROUTERS, job, reboot):
        for nat, node in nodes.items():
            node.wait_log("no neighbour answers any more", since=known[nat])
        for node in nodes.values():
            _router(node.host).switch_on()

    for nat in FORWARDING:
        eventually(partial(_forwards, nodes[nat].host), "ports to be forwarded again")
    world.settle(BEHIND_ROUTERS)
    for nat, node in nodes.items():
        node.wait_log("neighbours answer again", since=known[nat])
        checks = node.doctor()
        assert checks["reachability"]["found"].startswith(TRUTH[nat])
        assert "neighbours answer again, after" in checks["changed"]["found"]
        assert "no neighbour answers any more" in checks["changed"]["found"]
    a_new_job_reaches(world, BEHIND_ROUTERS)


def test_a_job_survives_a_change_of_its_nodes_address(internet: Internet, world: World, job: Path) -> None:
    moved: dict[Nat, _Move] = {}

    def move(nat: Nat, node: Node) -> None:
        moved[nat] = _move(internet, node)

    with in_the_middle_of_jobs(world, LENDERS, job, move):
        for nat, moves in moved.items():
            _is_advertised_anew(world.lenders[nat], nat, moves)

    _doctor_tells_of(world, moved)
    a_new_job_reaches(world, LENDERS)


def test_a_node_whose_address_changes_between_jobs_is_found_again(internet: Internet, world: World) -> None:
    world.settle(LENDERS)
    moved = {nat: _move(internet, world.lenders[nat]) for nat in LENDERS}

    for nat, moves in moved.items():
        _is_advertised_anew(world.lenders[nat], nat, moves)

    a_new_job_reaches(world, LENDERS)
    _doctor_tells_of(world, moved)


def test_the_doctor_says_that_a_relay_is_lost_and_what_to_do_when_none_is_left(world: World) -> None:
    world.settle((Nat.SYMMETRIC,))
    node = world.lenders[Nat.SYMMETRIC]
    first, second = world.relays
    try:
        first.kill()
        eventually(lambda: _relays(node) == {second.peer}, "the lost relay to be given up")
        one_left = node.doctor()
        second.kill()
        eventually(lambda: not _relays(node), "the last relay to be given up")
        none_left = node.doctor()
    finally:
        since = len(node.log.read_text())
        for relay in world.relays:
            if relay.process is not None and relay.process.poll() is not None:
                relay.start()

    assert one_left["reachability"]["status"] == "warning"
    assert f"lost the relay {first.peer}" in one_left["changed"]["found"]
    assert f"relays left: {second.peer}" in one_left["changed"]["found"]
    assert none_left["reachability"]["status"] == "failure"
    assert "no relay accepts it" in none_left["reachability"]["found"]
    assert "relays" in none_left["reachability"]["hint"]
    assert "relays left: none" in none_left["changed"]["found"]
    world.settle((Nat.SYMMETRIC,))
    node.wait_log(r"advertised classes=\d+ servers=[1-9]", since=since)  # the directory was on the relays
    a_new_job_reaches(world, (Nat.SYMMETRIC,))


@attrs.frozen(kw_only=True)
class _Move:
    """A change of address: the one before, what was advertised then, when, and how long the node's log was."""

    before: str
    advertised: str
    at: float
    log_length: int


def _move(internet: Internet, node: Node) -> _Move:
    log_length = len(node.log.read_text())
    advertised = node.health()["advertised"].found
    before = internet.readdress(node.host)
    return _Move(before=before, advertised=advertised, at=time.monotonic(), log_length=log_length)


def _is_advertised_anew(node: Node, nat: Nat, move: _Move) -> None:
    """Wait until the directory knows where a node is now. Raises: AssertionError if that is too late.

    A node whose connections to its relays move with it is where it was, for the directory.
    """
    now = f"/ip4/{node.host.public_address}/" if TRUTH[nat] == "public" else "/p2p-circuit"
    log_length = move.log_length

    def left_s() -> float:
        return ADVERTISED_S - (time.monotonic() - move.at)

    def is_announced() -> bool:
        nonlocal log_length
        length = len(node.log.read_text())
        told = node.health()["advertised"].found
        if now in told and f"/{move.before}/" not in told:
            return True
        log_length = length
        return False

    node.wait_log(_changed(node, move), since=log_length, deadline_s=left_s())
    what = f"{nat.value} to advertise {now} instead of {move.before}"
    eventually(is_announced, what, deadline_s=left_s())
    if TRUTH[nat] != "public" and node.health()["advertised"].found == move.advertised:
        return
    node.wait_log(r"advertised classes=\d+ servers=[1-9]", since=log_length, deadline_s=left_s())


def _changed(node: Node, move: _Move) -> str:
    return re.escape(f"changed from {move.before} to {node.host.public_address}")


def _doctor_tells_of(world: World, moved: dict[Nat, _Move]) -> None:
    for nat, move in moved.items():
        node, before = world.lenders[nat], move.before
        after = node.host.public_address
        said = f"changed from {before} to {after}"
        node.wait_log(re.escape(said))
        eventually(partial(is_settled, node, nat), "the truth")
        checks = node.doctor()
        assert said in checks["changed"]["found"]
        assert re.search(rf"{re.escape(said)}\b.* (s|min) ago \(2", checks["changed"]["found"])
        assert checks["reachability"]["found"].startswith(TRUTH[nat])
        assert f"/{before}/" not in checks["advertised"]["found"]


def _router(host: Host) -> Router:
    assert host.router is not None
    return host.router


def _forwards(host: Host) -> bool:
    forwarding = _router(host).forwarding
    return forwarding is not None and len(forwarding.forwarded()) == 2


def _relays(node: Node) -> set[str]:
    return {name.removeprefix("relay ") for name in node.health() if name.startswith("relay ")}


def _run(client: Client, world: World, node: Node, job: Path) -> subprocess.Popen[bytes]:
    return client.start(
        *("run", "--bootstrap", world.begin.address, "--peer", node.peer, "--limit", "gas=1e12"),
        *("--limit", "wall=110s", "--verifier", "signature", str(job)),
    )
