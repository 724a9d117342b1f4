"""`plasmd`: the command, its signals, and the order in which things start and end."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import click
import trio

from plasm_core import config as configuration
from plasm_core import logs, paths
from plasm_core.background_tasks import alongside, sole
from plasm_core.cli import exits, options
from plasm_core.cli.commands import reporting
from plasm_core.client.opening import DEFAULT_DISCOVERY, NETWORK_TRANSPORT, open_client
from plasm_core.config import Config
from plasm_core.daemon import detach as background
from plasm_core.daemon.admin.all_jobs import cancel_job, tell_jobs
from plasm_core.daemon.admin.health import Parts, tell_health
from plasm_core.daemon.admin.metrics import log_metrics, tell_metrics
from plasm_core.daemon.check import check_start
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.networks import Networks
from plasm_core.daemon.service import Service, open_service
from plasm_core.daemon.session import Session
from plasm_core.daemon.store import Store
from plasm_core.errors import ConfigError
from plasm_core.local_node import LocalNode
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Discovery, Stream, StreamHandler, Transport
from plasm_core.policy import check_lending
from plasm_core.protocol import (
    CANCEL_PROTOCOL,
    CAPABILITIES_PROTOCOL,
    HEALTH_PROTOCOL,
    JOB_PROTOCOL,
    JOBS_PROTOCOL,
    METRICS_PROTOCOL,
)
from plasm_core.protocol.single_answer import answering
from plasm_core.starting import StartMark
from plasm_core.systemd_notify import keep_notified, notify
from plasm_core.version import __version__

log = logging.getLogger(__name__)


@options.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Find what would keep the daemon from starting, and exit.")
@click.option(
    "--detach", is_flag=True, help="Start in the background, and return when the daemon is ready for jobs."
)
@click.option(
    "--stop", "stop_it", is_flag=True, help="Stop this user's daemon, and return when it has ended."
)
@options.configured(
    choices=("runtime", "validator", "transport", "discovery", "signer", "verifier"),
    sandboxed=True,
    reload=True,
    unused=(),
)
@click.option(
    "--bootstrap",
    multiple=True,
    metavar="ADDRESS",
    help="A bootstrap node of the network, as in /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
)
@click.option("--lend", is_flag=True, help="Run strangers' jobs too, as policy.lend=true does.")
@click.option(
    "--gateway",
    is_flag=True,
    help="Submit local clients' jobs to other nodes, as gateway.enabled=true does. This opens no port.",
)
@click.version_option(__version__, prog_name="plasmd")
@click.pass_context
def plasmd(
    ctx: click.Context,
    check: bool,
    detach: bool,
    stop_it: bool,
    lend: bool,
    gateway: bool,
    bootstrap: tuple[str, ...],
    settings: Config,
    reload: Callable[[], Config],
) -> None:
    """Accept jobs over sockets, store them, run them, and return their results with signed receipts.

    SIGTERM and Ctrl-C stop the daemon: it accepts no more jobs, lets running jobs end within daemon.shutdown_s, and
    puts the others back into the queue. SIGHUP reloads the configuration.

    With --detach the log goes to plasmd.log in the state directory.
    """
    if detach + stop_it + check > 1:
        raise click.UsageError("--check, --detach and --stop exclude one another")

    def completed(given: Config) -> Config:
        if lend:
            given = attrs.evolve(given, policy=attrs.evolve(given.policy, lend=True))
        if gateway:
            given = attrs.evolve(given, gateway=attrs.evolve(given.gateway, enabled=True))
        if bootstrap:
            table = {"bootstrap": list(bootstrap)}
            given = configuration.with_table(given, "discovery", DEFAULT_DISCOVERY[0], table)
        return given

    settings = completed(settings)
    socket = own_socket(settings)
    if stop_it:
        background.stop(socket, settings.daemon.shutdown_s)
        return
    mark = ctx.ensure_object(StartMark)
    if not check:
        mark.set(socket)
    used = set(chosen_discoveries(settings))
    if settings.gateway.enabled:
        used.add(_discovery_of_gateway(settings))
    if bootstrap and DEFAULT_DISCOVERY[0] not in used:
        raise click.UsageError(
            "--bootstrap begins at a node of a network: it needs --transport libp2p, to be a node, or --gateway"
        )
    ready = background.detach(mark.leave) if detach else _ignore
    # the answer to --check is for a person
    logs.set_up(attrs.evolve(settings.daemon, log_format="text") if check else settings.daemon)
    with LocalNode(settings) as node:
        try:
            transports, discoveries = check_all(node)
        except ConfigError as exc:
            raise settings.located(exc) from exc
        if check:
            untried = check_start(settings, transports)
            click.echo("the configuration is valid" + (f"; {untried}" if untried else ""))
            return
        with sole():
            trio.run(serve, node, transports, discoveries, lambda: completed(reload()), mark.clear, ready)


def _ignore() -> None:
    """Do nothing: no caller waits for the start."""


def own_socket(config: Config) -> Path:
    """Return the daemon's own socket."""
    given = config.table("transport", "local").get("socket")
    return Path(given) if isinstance(given, str) and given else paths.own_socket()


def check_all(node: LocalNode) -> tuple[list[Transport], list[Discovery]]:
    """Make everything that the configuration names, so that a mistake is found before anything is done.

    The local transport is always among the transports: without it the daemon's own user could not reach it.

    Raises: `ConfigError`, `PluginError`, `KeyFileError`.
    """
    _ = node.validator, node.verifiers, node.signer.peer_id
    check_lending(node.config, node.runtime())
    table, chosen = node.config.table, node.config.plasm
    transports = ("local", *(name for name in chosen.transport if name != "local"))
    discoveries = chosen_discoveries(node.config)
    if node.config.gateway.enabled:
        gateway, finder = node.config.gateway.transport, _discovery_of_gateway(node.config)
        loading.create(Transport, gateway, table("transport", gateway))  # type: ignore[type-abstract]
        found = loading.create(Discovery, finder, table("discovery", finder))  # type: ignore[type-abstract]
        _check_network(found, (gateway,), setting="gateway.transport")
    carriers = [loading.create(Transport, name, table("transport", name)) for name in transports]  # type: ignore[type-abstract]
    directories = [loading.create(Discovery, name, table("discovery", name)) for name in discoveries]  # type: ignore[type-abstract]
    for directory in directories:
        _check_network(directory, transports, setting="plasm.transport")
    return carriers, directories


def _check_network(discovery: Discovery, transports: Collection[str], *, setting: str) -> None:
    """Refuse a discovery that can use none of these transports. Raises: `ConfigError`."""
    if discovery.transports and not set(discovery.transports) & set(transports):
        wanted = " or ".join(discovery.transports)
        raise ConfigError(
            f"the discovery {discovery.name} needs the transport {wanted}", hint=f"name it in {setting}"
        )


def chosen_discoveries(config: Config) -> tuple[str, ...]:
    """Return the names of the daemon's discoveries: by default the directory of the transport libp2p, if it is used."""
    return config.plasm.discovery or (
        DEFAULT_DISCOVERY if NETWORK_TRANSPORT in config.plasm.transport else ()
    )


async def serve(
    node: LocalNode,
    transports: Sequence[Transport],
    discoveries: Sequence[Discovery],
    reload: Callable[[], Config],
    listening: Callable[[], None],
    ready: Callable[[], None],
) -> None:
    """Run the daemon until a signal ends it.

    `listening` is called when its own socket listens, `ready` when all is open.

    Raises: `PlasmError` if it cannot start.
    """
    state = paths.private_directory(paths.state_directory())
    async with AsyncExitStack() as stack:
        signals = await stack.enter_async_context(_signals())
        store = stack.enter_context(await trio.to_thread.run_sync(Store, state, node.config.storage))
        gateway = await _open_gateway(stack, node.config) if node.config.gateway.enabled else None
        networks = Networks(stack)
        service = await stack.enter_async_context(
            open_service(node, store, gateway=gateway, addresses=networks.advertised)
        )
        signals.tell_status(service.summary)
        await stack.enter_async_context(alongside(lambda: _reload_when_told(signals, service, reload)))
        parts = Parts(service=service, open=networks, transports=[item.name for item in transports])
        for transport in transports:
            await networks.listen(transport, node.signer, _handlers(transport, parts))
            if transport.name == "local":
                listening()
        for discovery in discoveries:
            directory = await networks.discover(discovery)
            if node.config.policy.lend:
                directory.advertise(service.record().classes)
        await stack.enter_async_context(alongside(lambda: log_metrics(parts)))
        log.info(
            "ready peer=%s runtime=%s cpu=%d memory_bytes=%d lends=%s",
            *(service.peer, node.config.plasm.runtime),
            *(service.jobs.schedule.slots.total.cpu, service.jobs.schedule.slots.total.memory_bytes),
            "yes" if node.config.policy.lend else "no",
        )
        # What is there from the start is there to the end: no collection looks at it again.
        gc.collect()
        gc.freeze()
        notify("READY=1")
        ready()
        await signals.ended.wait()
        log.info("ending")
        notify("STOPPING=1")
        await service.stop()
    log.info("ended")


def _discovery_of_gateway(config: Config) -> str:
    return (config.plasm.discovery or DEFAULT_DISCOVERY)[0]


async def _open_gateway(stack: AsyncExitStack, config: Config) -> Gateway:
    """Return the gateway, which submits jobs by a client with its own identity and without stored peers."""
    name = _discovery_of_gateway(config)
    discovery = loading.load("discovery", name)
    if attrs.has(discovery) and "cache" in attrs.fields_dict(discovery):
        config = configuration.with_table(config, "discovery", name, {"cache": ""})
    client = await stack.enter_async_context(open_client(config, transport=config.gateway.transport))
    log.info("gateway transport=%s", config.gateway.transport)
    return Gateway(client)


def _handlers(transport: Transport, parts: Parts) -> dict[str, StreamHandler]:
    """Return what answers on a transport, by protocol: health and metrics on the daemon's own socket only."""
    service = parts.service
    handlers = {JOB_PROTOCOL: _handler(service), CAPABILITIES_PROTOCOL: _tell_capabilities(service)}
    if transport.name == "local":
        handlers |= {HEALTH_PROTOCOL: tell_health(parts), METRICS_PROTOCOL: tell_metrics(parts)}
        handlers |= {JOBS_PROTOCOL: tell_jobs(service), CANCEL_PROTOCOL: cancel_job(service)}
    return handlers


def _handler(service: Service) -> StreamHandler:
    """Serve one client on each stream."""

    async def handle(stream: Stream) -> None:
        await Session(service, stream).serve()

    return handle


def _tell_capabilities(service: Service) -> StreamHandler:
    """Answer with the signed capability record: its envelope's JSON."""
    return answering(lambda: service.capabilities.envelope().encode())


class _Signals:
    """Handles signals, and reports the daemon's state to the service manager."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._ask_reload, self.reloads = trio.open_memory_channel[None](1)
        self._status: Callable[[], str] = lambda: "starting"

    def status(self) -> str:
        """Return a line about the daemon's state, for the service manager."""
        return self._status()

    def tell_status(self, status: Callable[[], str]) -> None:
        """Set the line that is reported to the service manager from now on."""
        self._status = status

    async def listen(self) -> None:
        """Handle signals until cancelled. SIGHUP waits until the service has started."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    with contextlib.suppress(trio.WouldBlock):  # a reload is pending already
                        self._ask_reload.send_nowait(None)
                elif self.ended.is_set():
                    log.warning("ending at once")
                    os._exit(exits.FAILURE)
                else:
                    log.info("signal received signal=%s", signal.Signals(number).name)
                    self.ended.set()


@asynccontextmanager
async def _signals() -> AsyncIterator[_Signals]:
    """Deal with signals, and keep the service manager informed, until the context ends."""
    signals = _Signals()
    async with alongside(signals.listen, lambda: keep_notified(signals.status)):
        yield signals


async def _reload_when_told(signals: _Signals, service: Service, reload: Callable[[], Config]) -> None:
    async for _ in signals.reloads:
        _reload(service, reload)


_FIXED = ("plasm", "sandbox", "storage", "components")


def _reload(service: Service, reload: Callable[[], Config]) -> None:
    """Reload the configuration, and apply the settings that may change while the daemon runs."""
    node = service.node
    try:
        fresh = reload()
        check_lending(fresh, node.runtime())
    except ConfigError as exc:
        log.error("configuration not reloaded: it is as before reason=%s", exc)
        return
    fixed = [name for name in _FIXED if getattr(fresh, name) != getattr(node.config, name)]
    if fixed:
        log.warning("changes that need a restart sections=%s", " ".join(fixed))
    merged = configuration.keep(fresh, node.config, _FIXED)
    logs.set_up(merged.daemon)
    service.reconfigure(merged)
    log.info("configuration reloaded")


def main(arguments: Sequence[str] | None = None, mark: StartMark | None = None) -> None:
    """Run the daemon and exit with the code that its end has. `mark`: that it is starting."""
    with reporting():
        plasmd.main(
            args=None if arguments is None else list(arguments),
            prog_name="plasmd",
            standalone_mode=False,
            obj=mark,
        )
        sys.exit(0)
