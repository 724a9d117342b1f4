"""`plasm web`: the HTTP server, and its tokens."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plasm_core.cli import exits, options, render
from plasm_core.cli.command_class import Command
from plasm_core.cli.unused_settings import OF_WEB
from plasm_core.config import Config
from plasm_core.errors import PluginMissingError

if TYPE_CHECKING:
    from plasm_core.web.server import Listen

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


log = logging.getLogger(__name__)


@click.group(invoke_without_command=True, epilog=exits.EPILOGUE)
@click.option(
    "--listen",
    metavar="ADDRESS",
    default="127.0.0.1:8750",
    help="Where to listen: HOST:PORT, or unix:PATH. [default: 127.0.0.1:8750]",
)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="A name by which clients reach this server, in addition to localhost.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="An origin whose pages may use this server, as in https://example.org.",
)
@click.option(
    "--tls-certificate", type=click.Path(path_type=Path), metavar="FILE", help="A certificate chain, PEM."
)
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its key, PEM.")
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy in front of this server speaks TLS to the clients. Each needs a token, over a Unix socket too.",
)
@click.option(
    "--webhook-host",
    "webhook_hosts",
    multiple=True,
    metavar="NAME",
    help="A host to send webhooks to, as in example.org or *.example.org. Without one, no webhook is sent.",
)
@click.option(
    "--webhook-private",
    is_flag=True,
    help="Webhook hosts may have private addresses, and need no TLS.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 100_000),
    default=1024,
    metavar="N",
    help="The most connections at once. [default: 1024]",
)
@options.configured(choices=(), unused=OF_WEB)
@click.pass_context
def web(
    ctx: click.Context,
    listen: str,
    host_names: tuple[str, ...],
    origins: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    webhook_hosts: tuple[str, ...],
    webhook_private: bool,
    connections: int,
    settings: Config,
) -> None:
    """Serve the daemon's jobs over HTTP, with a page for browsers.

    It is a client of the daemon on this machine and holds no key. Beyond this machine it listens only if there is a
    token, and with TLS or --behind-proxy. docs/http.md explains the API.
    """
    if ctx.invoked_subcommand is not None:
        return
    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together")
    _require_extra()
    from plasm_core import logs
    from plasm_core.web.main import WebOptions, run
    from plasm_core.web.webhook_delivery import Allowed

    logs.set_up(settings.daemon)
    tls = (tls_certificate, tls_key) if tls_certificate is not None and tls_key is not None else None
    run(
        settings,
        WebOptions(
            listen=_listen(listen, tls),
            hosts=host_names,
            origins=tuple(_origin(origin) for origin in origins),
            behind_proxy=behind_proxy,
            max_connections=connections,
            webhooks=Allowed(
                hosts=tuple(name.lower().rstrip(".") for name in webhook_hosts), private=webhook_private
            ),
        ),
        _log_line if logs.is_json() else _print_line,
    )


def _print_line(line: str) -> None:
    click.echo(line, err=True)


def _log_line(line: str) -> None:
    log.info("%s", line)


@web.group(epilog=exits.EPILOGUE)
def token() -> None:
    """Make, list or revoke the tokens of HTTP clients."""


@token.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["submit", "read", "admin"]),
    help="What it may do. read: see its own jobs; submit: also submit; admin: all, with everybody's jobs. [default: submit]",
)
def make(name: str, scopes: tuple[str, ...]) -> None:
    """Make a token called NAME, and print it. Only its digest is stored: keep it like a password."""
    from plasm_core.web.bearer_tokens import BearerTokens

    click.echo(BearerTokens().make(name, scopes or ("submit",)))


@token.command("list", cls=Command, epilog=exits.EPILOGUE)
@options.json_option
def list_(as_json: bool) -> None:
    """List the tokens by name, with their scopes."""
    from plasm_core.web.bearer_tokens import BearerTokens

    found = BearerTokens().listed()
    if as_json:
        render.show_json(
            [
                {"name": item.name, "scopes": list(item.scopes), "madeAt": item.made_at.isoformat()}
                for item in found
            ]
        )
    elif found:
        render.show_rows(
            ("NAME", "SCOPES", "MADE"),
            [
                (item.name, ", ".join(item.scopes), item.made_at.strftime("%Y-%m-%d %H:%M:%S UTC"))
                for item in found
            ],
        )
    else:
        render.show_hint("there is no token: make one with: plasm web token make NAME")


@token.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME. It is of no use from now on."""
    from plasm_core.web.bearer_tokens import BearerTokens

    BearerTokens().revoke(name)


def _require_extra() -> None:
    """Check that the server's libraries are installed. Raises: `PluginMissingError`."""
    import importlib.util

    missing = [
        name
        for name in ("hypercorn", "starlette", "python_multipart", "prometheus_client")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise PluginMissingError(
            f"plasm web needs packages that are not installed: {', '.join(missing)}",
            hint="install them with: pip install 'phase-plasm[web]'",
        )


def _listen(text: str, tls: tuple[Path, Path] | None) -> Listen:
    from plasm_core.web.server import Listen

    if text.startswith("unix:"):
        if tls is not None:
            raise click.UsageError("TLS is for addresses: a Unix socket needs none")
        return Listen(path=Path(text.removeprefix("unix:")))
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise click.BadParameter(f"--listen {text}: expected HOST:PORT or unix:PATH")
    return Listen(host=found["host"].strip("[]"), port=int(found["port"]), tls=tls)


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", text):
        raise click.BadParameter(f"--allow-origin {text}: expected an origin, as in https://example.org")
    return text.lower()
