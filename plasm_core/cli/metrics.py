"""`plasm metrics`: print the counters of the daemon on this machine."""

from __future__ import annotations

import trio

from plasm_core.background_tasks import sole
from plasm_core.cli import options, render
from plasm_core.cli.unused_settings import BY_SENDERS
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError
from plasm_core.protocol import METRICS_PROTOCOL


@options.command()
@options.configured(choices=(), unused=BY_SENDERS)
def metrics(settings: Config) -> None:
    """Show the daemon's counters since its start, in the Prometheus text format.

    Jobs accepted, refused and ended, offers, bytes, and of the network peers, connections and messages. None of
    it names a client or says where one is.
    """
    try:
        with sole():
            page = trio.run(ask, settings, METRICS_PROTOCOL)
    except PeerUnreachableError as exc:
        raise PeerUnreachableError(f"no daemon answers: {exc}", hint=exc.hint) from exc
    render.show_page(page.decode("utf-8", "replace"))
