"""`plasmd`: the command, its signals, and the order in which things start and end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import click
import trio

import plasm_core
from plasm_core import config as configuration
from plasm_core import paths, plugins
from plasm_core.abc import Directory, Discovery, Network, Stream, StreamHandler, Transport
from plasm_core.alongside import alongside, sole
from plasm_core.cli import exits, options
from plasm_core.cli.commands import reporting
from plasm_core.client.aio import DEFAULT_DISCOVERY, open_client
from plasm_core.config import Config
from plasm_core.daemon import logs
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.health import Parts, tell_health
from plasm_core.daemon.metrics import log_metrics, tell_metrics
from plasm_core.daemon.notify import keep_notified, notify
from plasm_core.daemon.policy import check_lending
from plasm_core.daemon.service import Service, open_service
from plasm_core.daemon.session import Session
from plasm_core.errors import ConfigError, TransportError
from plasm_core.node import Node
from plasm_core.store import Store
from plasm_core.wire import CAPABILITIES_PROTOCOL, HEALTH_PROTOCOL, JOB_PROTOCOL, METRICS_PROTOCOL

log = logging.getLogger(__name__)

_TELL_S = 10


@options.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Check the configuration and everything it names, and exit.")
@options.configured(
    choices=("runtime", "validator", "transport", "discovery", "signer", "verifier"),
    sandboxed=True,
    reload=True,
)
@click.option(
    "--bootstrap",
    multiple=True,
    metavar="ADDRESS",
    help="A node of the network to begin at, as in /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
)
@click.option("--lend", is_flag=True, help="Run strangers' jobs too, as policy.lend=true does.")
@click.version_option(plasm_core.__version__, prog_name="plasmd")
def plasmd(
    check: bool, lend: bool, bootstrap: tuple[str, ...], settings: Config, reload: Callable[[], Config]
) -> None:
    """Take jobs over sockets, keep them, run them, and hand out their results with signed receipts.

    SIGTERM and Ctrl-C end it: it takes no more jobs, lets those that run end within daemon.shutdown_s, and
    puts the others back into the queue. SIGHUP reads the configuration anew.
    """

    def completed(given: Config) -> Config:
        if lend:
            given = attrs.evolve(given, policy=attrs.evolve(given.policy, lend=True))
        if bootstrap:
            table = {"bootstrap": list(bootstrap)}
            given = configuration.with_table(given, "discovery", DEFAULT_DISCOVERY[0], table)
        return given

    settings = completed(settings)
    logs.set_up(settings.daemon)
    with Node(settings) as node:
        transports, discoveries = check_all(node)
        if check:
            click.echo("the configuration is valid")
            return
        with sole():
            trio.run(serve, node, transports, discoveries, lambda: completed(reload()))


def check_all(node: Node) -> tuple[list[Transport], list[Discovery]]:
    """Make everything that the configuration names, so that a mistake is found before anything is done.

    The local transport is always among the transports: without it the daemon's own user could not reach it.

    Raises: `ConfigError`, `PluginError`, `KeyFileError`.
    """
    _ = node.validator, node.verifiers, node.signer.peer_id
    check_lending(node.config, node.runtime())
    table, chosen = node.config.table, node.config.plasm
    transports = ("local", *(name for name in chosen.transport if name != "local"))
    discoveries = chosen.discovery or (DEFAULT_DISCOVERY if len(transports) > 1 else ())
    return (
        [plugins.create(Transport, name, table("transport", name)) for name in transports],  # type: ignore[type-abstract]
        [plugins.create(Discovery, name, table("discovery", name)) for name in discoveries],  # type: ignore[type-abstract]
    )


async def serve(
    node: Node,
    transports: Sequence[Transport],
    discoveries: Sequence[Discovery],
    reload: Callable[[], Config],
) -> None:
    """Run the daemon until a signal ends it. Raises: `PlasmError` if it cannot start."""
    state = paths.private_directory(paths.state_directory())
    async with AsyncExitStack() as stack:
        ended = await stack.enter_async_context(_signals(node, reload))
        store = stack.enter_context(await trio.to_thread.run_sync(Store, state, node.config.storage))
        service = await stack.enter_async_context(open_service(node, store))
        ended.service = service
        parts = Parts(service=service)
        service.whereabouts = parts.advertised
        for transport in transports:
            handlers = {JOB_PROTOCOL: _handler(service), CAPABILITIES_PROTOCOL: _tell_capabilities(service)}
            if transport.name == "local":
                handlers |= {HEALTH_PROTOCOL: tell_health(parts), METRICS_PROTOCOL: tell_metrics(parts)}
            network = await stack.enter_async_context(transport.open(node.signer, handlers))
            log.info("listening transport=%s addresses=%s", transport.name, " ".join(network.addresses))
            parts.networks[transport.name] = network
        for discovery in discoveries:
            directory = await _open_discovery(stack, discovery, list(parts.networks.values()))
            parts.directories[discovery.name] = directory
            if node.config.policy.lend:
                directory.advertise(service.record().classes)
        await stack.enter_async_context(alongside(lambda: log_metrics(parts)))
        if node.config.gateway.enabled:
            await _open_gateway(stack, service, node.config)
        log.info(
            "ready peer=%s runtime=%s cpu=%d memory_bytes=%d lends=%s",
            *(service.peer, node.config.plasm.runtime),
            *(service.slots.total.cpu, service.slots.total.memory_bytes),
            "yes" if node.config.policy.lend else "no",
        )
        notify("READY=1")
        await ended.event.wait()
        log.info("ending")
        notify("STOPPING=1")
        service.is_stopping = True
        await service.stop()
    log.info("ended")


async def _open_discovery(
    stack: AsyncExitStack, discovery: Discovery, networks: Sequence[Network]
) -> Directory:
    """Open a discovery on the network that it can use. Raises: `TransportError` if it can use none."""
    problem = TransportError(f"the discovery {discovery.name} has no transport")
    for network in networks:
        try:
            directory = await stack.enter_async_context(discovery.open(network))
        except TransportError as exc:
            problem = exc
            continue
        log.info("discovery=%s neighbours=%d", discovery.name, len(directory.neighbours))
        return directory
    raise problem


async def _open_gateway(stack: AsyncExitStack, service: Service, config: Config) -> None:
    """Let the service hand jobs on, by a client that remembers no peers and has an identity of its own."""
    name = (config.plasm.discovery or DEFAULT_DISCOVERY)[0]
    apart = configuration.with_table(config, "discovery", name, {"cache": ""})
    client = await stack.enter_async_context(open_client(apart, transport=config.gateway.transport))
    service.gateway = Gateway(client, config.gateway.jobs)
    log.info("gateway transport=%s", config.gateway.transport)


def _tell_capabilities(service: Service) -> StreamHandler:
    """Answer with the signed capability record: u32 big-endian length, then its envelope's JSON."""

    async def handle(stream: Stream) -> None:
        envelope = service.capabilities.envelope().encode()
        with trio.fail_after(_TELL_S):
            await stream.send_all(len(envelope).to_bytes(4, "big") + envelope)
            await stream.aclose()

    return handle


def _handler(service: Service) -> StreamHandler:
    async def handle(stream: Stream) -> None:
        await Session(service, stream).serve()

    return handle


class _Ending:
    """Whether a signal has come, and the service that hears of SIGHUP."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.service: Service | None = None

    def status(self) -> str:
        """Say in a line what the daemon does."""
        service = self.service
        if service is None:
            return "starting"
        word = "ending" if service.is_stopping else "serving"
        return f"{word}: {len(service.slots)} running, {len(service.queue)} waiting, {len(service.offers)} uploading"


@asynccontextmanager
async def _signals(node: Node, reload: Callable[[], Config]) -> AsyncIterator[_Ending]:
    """Deal with signals, and keep the service manager informed, until the context ends."""
    ending = _Ending()

    async def listen() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    _reload(ending, node, reload)
                elif ending.event.is_set():
                    log.warning("ending at once")
                    os._exit(exits.FAILURE)
                else:
                    log.info("signal=%s", signal.Signals(number).name)
                    ending.event.set()

    async with alongside(listen, lambda: keep_notified(ending.status)):
        yield ending


_FIXED = ("plasm", "sandbox", "storage", "components")


def _reload(ending: _Ending, node: Node, reload: Callable[[], Config]) -> None:
    """Read the configuration anew, and take over what may change while the daemon runs."""
    try:
        fresh = reload()
        check_lending(fresh, node.runtime())
    except ConfigError as exc:
        log.error("configuration not read anew: it is as before reason=%s", exc)
        return
    fixed = [name for name in _FIXED if getattr(fresh, name) != getattr(node.config, name)]
    if fixed:
        log.warning("changes that need a restart sections=%s", " ".join(fixed))
    merged = configuration.keep(fresh, node.config, _FIXED)
    logs.set_up(merged.daemon)
    if ending.service is not None:
        ending.service.reconfigure(merged)
    log.info("configuration read anew")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the daemon and exit with the code that its end has."""
    with reporting():
        plasmd.main(
            args=None if arguments is None else list(arguments), prog_name="plasmd", standalone_mode=False
        )
        sys.exit(0)
