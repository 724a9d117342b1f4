"""Makes a client: reads the configuration, loads the plugins, opens the transport and the directory."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from plasm_core import assurance
from plasm_core import config as configuration
from plasm_core.background_tasks import alongside
from plasm_core.client.arguments import check_options
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.dial import LocalDialler
from plasm_core.client.result_verification import Judge
from plasm_core.client.submitted_job import SentJobs
from plasm_core.config import Config
from plasm_core.errors import (
    ConfigError,
)
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Discovery, Transport, Verifier
from plasm_core.protocol import ANY_NODE
from plasm_core.records import PeerId
from plasm_core.records.cid import parse_peer

DEFAULT_DISCOVERY = ("kademlia",)
NETWORK_TRANSPORT = "libp2p"


@asynccontextmanager
async def open_client(
    config: Config | str | os.PathLike[str] | None = None,
    *,
    transport: str | None = None,
    peer: str | None = None,
    bootstrap: str | Sequence[str] = (),
    verifier: str | Sequence[str] = (),
    node_class: str = ANY_NODE,
    gateway: bool = False,
    require: str | None = None,
    reuse: bool | None = None,
    sent: SentJobs | None = None,
    capability: None = None,
) -> AsyncIterator[AsyncClient]:
    """Open a client of this machine's daemon or, with another transport, of nodes found over a network.

    `config`: as of `plasm_core.config.load`, or the path of a file to read; None reads the user's file, as the
    commands do. The environment (`PLASM_VERIFIER`, …) takes precedence over a file. `Config()` is the defaults alone.
    `transport`: None is the network (`libp2p`) with `peer` or `bootstrap`, and the daemon of this machine without.
    `bootstrap`: addresses of nodes to begin at, instead of the configuration's. `verifier`: names of verifiers,
    instead of the configuration's. `peer` pins one node, by its PeerId or an address that ends in it; `node_class` is
    the class of nodes to look for (docs/network.md). `gateway`: the daemon on this machine looks for a node.
    `require` is the assurance that each result needs, one of `plasm_core.assurance.REQUIREMENTS`. `reuse`: `run` and
    `map` return an earlier verified result of an equal task, and run nothing (`JobResult.reused`); None is as
    configured. Over a network the client has a fresh identity.

    Raises: `ConfigError`, `PluginError`, `TransportError`; TypeError on `capability`, the old name of `node_class`.
    """
    if capability is not None:
        raise TypeError("capability is called node_class now")
    check_options(
        config=config,
        transport=transport,
        peer=peer,
        bootstrap=bootstrap,
        verifier=verifier,
        node_class=node_class,
        gateway=gateway,
        require=require,
        reuse=reuse,
    )
    addresses = (bootstrap,) if isinstance(bootstrap, str) else tuple(bootstrap)
    if transport is None:
        transport = "local" if peer is None and not addresses else NETWORK_TRANSPORT
    if transport == "local" and addresses:
        raise ConfigError(
            'bootstrap needs a network, and transport="local" is this machine only',
            hint='leave out transport="local"',
        )
    if transport == "local" and peer is not None:
        raise ConfigError(
            'peer needs a network, and transport="local" is this machine only',
            hint='name it with transport="libp2p"',
        )
    if transport == "local" and not gateway and node_class != ANY_NODE:
        raise ConfigError(
            'node_class needs a network, and transport="local" is this machine only',
            hint='say so with transport="libp2p"',
        )
    if transport != "local" and gateway:
        raise ConfigError(
            'gateway=True asks the daemon of this machine, so transport must be "local"',
            hint="leave transport out",
        )
    settings = _settings(config, addresses, (verifier,) if isinstance(verifier, str) else tuple(verifier))
    pinned, addresses = _pinned(peer)
    require = settings.plasm.require if require is None else require
    assurance.check_known(require)
    verifiers = [
        loading.create(Verifier, name, settings.table("verifier", name))  # type: ignore[type-abstract]
        for name in assurance.verifiers_for(require, settings.plasm.verifier)
    ]
    carrier = loading.create(Transport, transport, settings.table("transport", transport))  # type: ignore[type-abstract]
    async with AsyncExitStack() as stack:
        reputation = None
        if transport != "local":
            from plasm_core.client.reputation import (
                open_reputation,  # of no use with the machine's own daemon
            )

            reputation = stack.enter_context(open_reputation())
        judge = stack.enter_context(Judge(verifiers, settings, require=require, reputation=reputation))
        again = None
        if settings.plasm.reuse if reuse is None else reuse:
            from plasm_core.client.result_cache import ResultCache
            from plasm_core.client.reuse import Reuse

            again = Reuse(
                cache=ResultCache(),
                judge=judge,
                require=require,
                denied=settings.policy.denied,
                strangers=peer is None and (gateway or transport != "local"),
            )
        network = await stack.enter_async_context(carrier.open(None, {}))
        if transport == "local":
            own = LocalDialler(network, route="network" if gateway else "here")
            await stack.enter_async_context(own.kept.open())
            yield AsyncClient(own, judge, sent, again)
            return
        from plasm_core.client.auditor import Auditor
        from plasm_core.client.node_choice import RemoteDialler

        name = (settings.plasm.discovery or DEFAULT_DISCOVERY)[0]
        discovery = loading.create(Discovery, name, settings.table("discovery", name))  # type: ignore[type-abstract]
        directory = await stack.enter_async_context(discovery.open(network))
        directory.permit(addresses)
        dialler = RemoteDialler(
            network,
            directory,
            node_class=node_class,
            pinned=pinned,
            addresses=addresses,
            denied=settings.policy.denied,
            reputation=reputation,
            fresh=lambda: carrier.open(None, {}),
        )
        await stack.enter_async_context(alongside(dialler.keep_enough))
        await stack.enter_async_context(dialler.kept.open())

        @asynccontextmanager
        async def another() -> AsyncIterator[AsyncClient]:
            """A client under a fresh key, which knows no verifier but `signature`."""
            signature = loading.create(Verifier, "signature", settings.table("verifier", "signature"))  # type: ignore[type-abstract]
            async with carrier.open(None, {}) as fresh, discovery.open(fresh) as found:
                found.permit(addresses)
                dialler = RemoteDialler(
                    fresh,
                    found,
                    node_class=node_class,
                    denied=settings.policy.denied,
                    reputation=reputation,
                    at_random=True,
                )
                with Judge([signature], settings) as plain:
                    yield AsyncClient(dialler, plain)

        auditor = None
        if reputation is not None and pinned is None:
            auditor = Auditor(reputation, another, judge)
            if any(verifier.keeps_inputs for verifier in verifiers):
                await stack.enter_async_context(alongside(auditor.run))
        yield AsyncClient(dialler, judge, sent, again, auditor)


def _settings(
    config: Config | str | os.PathLike[str] | None, bootstrap: tuple[str, ...], verifier: tuple[str, ...]
) -> Config:
    """Read the configuration as the commands do; the caller's arguments replace its values. Raises: `ConfigError`."""
    if not isinstance(config, Config):
        config = configuration.load(file=None if config is None else Path(config))
    if bootstrap:
        config = configuration.with_table(
            config, "discovery", DEFAULT_DISCOVERY[0], {"bootstrap": list(bootstrap)}
        )
    if verifier:
        config = attrs.evolve(config, plasm=attrs.evolve(config.plasm, verifier=verifier))
    return config


def _pinned(peer: str | None) -> tuple[PeerId | None, tuple[str, ...]]:
    """Read who and where. Blanks around it and a slash behind it come with copying, and mean nothing."""
    if peer is None:
        return None, ()
    text = peer.strip().rstrip("/")
    where, separator, who = text.rpartition("/p2p/")
    try:
        found = parse_peer(who)
        if not separator or not where:
            return found, ()
        if not where.startswith("/") or not re.fullmatch("[!-~]+", where):
            raise ValueError("not an address")
        return found, (f"{where}/p2p/{found}",)
    except ValueError as exc:
        raise ConfigError(
            f"{peer} is neither a PeerId nor an address that ends in one",
            hint="an address looks like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
        ) from exc
