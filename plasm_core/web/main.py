"""The process of `plasm web`: checks where it may listen, and serves until a signal ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from plasm_core.background_tasks import alongside, sole
from plasm_core.client.opening import open_client
from plasm_core.config import Config
from plasm_core.errors import ConfigError, StorageError
from plasm_core.ownership import check_file, open_regular
from plasm_core.paths import private_directory
from plasm_core.systemd_notify import notify
from plasm_core.web.application import WebParts, application
from plasm_core.web.bearer_tokens import ADMIN, BearerTokens, web_directory
from plasm_core.web.guard import LOOPBACK_NAMES, Access
from plasm_core.web.job_table import WebJobTable
from plasm_core.web.job_watch import JobWatch
from plasm_core.web.recent_samples import RecentSamples
from plasm_core.web.server import Listen, bound, serve, tls_context
from plasm_core.web.web_batches import WebBatches
from plasm_core.web.web_jobs import WebJobs
from plasm_core.web.webhook_delivery import Allowed
from plasm_core.web.webhooks import Webhooks

log = logging.getLogger(__name__)

PAGE_TOKEN = "page"
"""The name of the token that a server on loopback makes for its user's browser."""
_MAX_TOKEN_BYTES = 256


@attrs.frozen(kw_only=True)
class WebOptions:
    """How to serve. `behind_proxy`: a proxy in front speaks TLS to the clients, each of which needs a token."""

    listen: Listen
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    behind_proxy: bool = False
    max_connections: int
    webhooks: Allowed = attrs.field(factory=Allowed)

    def check(self, tokens: BearerTokens) -> None:
        """Refuse to listen beyond this machine without a token and TLS. Raises: `ConfigError`, `StorageError`."""
        if self.listen.is_loopback and not self._is_proxied_socket:
            return
        if not (self.listen.tls or self.behind_proxy):
            raise ConfigError(
                f"{self.listen.host} is reached from other machines, and tokens would be sent to it in the clear",
                hint="give --tls-certificate and --tls-key, or say --behind-proxy if a proxy speaks TLS",
            )
        if not tokens.listed():
            raise ConfigError(
                f"{self.listen.path or self.listen.host} is reached from other machines, and there is no token yet",
                hint="make one with: plasm web token make NAME",
            )

    @property
    def _is_proxied_socket(self) -> bool:
        """Whether a proxy carries strangers to a Unix socket: its file's mode says nothing of them then."""
        return self.listen.path is not None and self.behind_proxy

    @property
    def access(self) -> Access:
        """Who may ask."""
        is_own = self.listen.path is not None or self.listen.is_loopback
        own = () if is_own or self.listen.host in ("0.0.0.0", "::") else (_bracketed(self.listen.host),)
        return Access(
            hosts=tuple(dict.fromkeys((*LOOPBACK_NAMES, *own, *(name.lower() for name in self.hosts)))),
            origins=self.origins,
            is_tls=self.listen.tls is not None or self.behind_proxy,
            is_local=self.listen.path is not None and not self._is_proxied_socket,
            most_open=self.max_connections,
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def page_token(tokens: BearerTokens) -> tuple[str, Path]:
    """Return the token of this user's own browser, and the private file that keeps it. Raises: `StorageError`."""
    path = web_directory() / "page.token"
    try:
        private_directory(path.parent)
        try:
            with open_regular(path) as file:
                check_file(os.fstat(file.fileno()), path)
                token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
            if tokens.find(token) is not None:
                return token, path
        except FileNotFoundError:
            pass
        if any(item.name == PAGE_TOKEN for item in tokens.listed()):
            tokens.revoke(PAGE_TOKEN)
        token = tokens.make(PAGE_TOKEN, (ADMIN,))
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file_out:
            file_out.write(token + "\n")
        fresh.rename(path)
    except OSError as exc:
        raise StorageError(f"cannot keep the page's token in {path}: {exc.strerror or exc}") from exc
    return token, path


def run(settings: Config, options: WebOptions, show: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `show` is given lines for the user.

    Raises: `ConfigError`, `TransportError`, `StorageError`, `PluginError`.
    """
    tokens = BearerTokens()
    options.check(tokens)
    listen = options.listen
    context = tls_context(*listen.tls) if listen.tls is not None else None
    listening = bound(listen)
    try:
        if listen.path is not None:
            show(f"listening on {listen.path}")
        else:
            address, port = listening.getsockname()[:2]
            host = _bracketed(address if listen.host != "localhost" else listen.host)
            url = f"{'https' if context else 'http'}://{host}:{port}/"
            show(f"listening on {url}")
            if listen.is_loopback:
                token, path = page_token(tokens)
                is_for_person = sys.stderr.isatty() and settings.daemon.log_format == "text"
                show(f"open {url}#token={token}" if is_for_person else f"its token is in {path}")
        with sole():
            trio.run(_serve, settings, options, tokens, listening, context)
    finally:
        listening.close()
        if listen.path is not None:
            listen.path.unlink(missing_ok=True)


async def _serve(
    settings: Config, options: WebOptions, tokens: BearerTokens, listening: object, context: object
) -> None:
    table = await trio.to_thread.run_sync(WebJobTable, web_directory())
    try:
        async with open_client(settings, transport="local") as client:
            jobs = WebJobs(client, table)
            webhooks = Webhooks(jobs=jobs, table=table, allowed=options.webhooks)
            webhooks.attach()
            batches = WebBatches(client, web_directory() / "batches")
            await trio.to_thread.run_sync(batches.load)
            history, watch = RecentSamples(settings), JobWatch(jobs, table)
            parts = WebParts(
                client=client,
                jobs=jobs,
                batches=batches,
                watch=watch,
                history=history,
                settings=settings,
                allowed=options.webhooks,
                counters=webhooks.counters,
            )
            app = application(parts, tokens, options.access)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

                async def stop() -> None:
                    log.info("serving connections=%d", options.max_connections)
                    notify("READY=1")
                    async for number in signals:
                        log.info("ending signal=%s", signal.Signals(number).name)
                        break
                    notify("STOPPING=1")
                    app.stopping.set()

                async with alongside(jobs.run, watch.run, history.run, webhooks.run, batches.run):
                    await serve(app, listening, context, stop, max_connections=options.max_connections)  # type: ignore[arg-type]
    finally:
        table.close()
