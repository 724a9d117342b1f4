"""`plasm reputation`: this user's records about nodes; also the doubtful results of `plasm jobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from plasm_core.cli import exits, node_options, options, render
from plasm_core.cli.command_class import Command
from plasm_core.client.reputation_store import AcceptedResult, ReputationStore
from plasm_core.config import Config
from plasm_core.records import PeerId
from plasm_core.records.credibility import error_text, node_error
from plasm_core.records.history import NodeHistory

if TYPE_CHECKING:
    from plasm_core.client.async_client import AsyncClient
    from plasm_core.client.auditor import Audited


@click.group(epilog=exits.EPILOGUE)
def reputation() -> None:
    """Show, forget or export what your clients have learnt of nodes, or have results checked.

    It is your own opinion and is not shared. A conviction has a fraud proof, which convinces anyone: see
    plasm verify --fraud.
    """


def _peers(texts: tuple[str, ...]) -> list[PeerId]:
    try:
        return [PeerId.parse(text) for text in texts]
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@reputation.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("peers", metavar="[PEER]...", nargs=-1)
@options.json_option
def show(peers: tuple[str, ...], as_json: bool) -> None:
    """Show what is known of each PEER, or of all nodes: convicted ones first, then the best known."""
    chosen = _peers(peers)
    with ReputationStore() as store:
        found = [store.find(peer) for peer in chosen] if chosen else store.nodes()
    if as_json:
        render.show_json({"nodes": [history_json(history) for history in found]})
    elif found:
        render.show_rows(
            ("PEER", "ACCEPTED", "CHECKED", "FAILED", "ERROR", "LAST SEEN", "PROOF"),
            [_row(item) for item in found],
        )
    else:
        render.show_hint(
            "nothing is known of any node: clients learn from jobs on a network, as with plasm run --remote"
        )


@reputation.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("peers", metavar="[PEER]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Forget all nodes but convicted ones.")
def forget(peers: tuple[str, ...], everything: bool) -> None:
    """Forget each PEER: its history, its accepted results, and its conviction."""
    if bool(peers) == everything:
        raise click.UsageError("name nodes, or say --all")
    with ReputationStore() as store:
        count = store.forget(None if everything else _peers(peers))
    render.show_mark("✓", f"{count} nodes forgotten", stderr=True)


@reputation.command(cls=Command, epilog=exits.EPILOGUE)
def export() -> None:
    """Write what is known of all nodes to stdout, a JSON object on each line."""
    with ReputationStore() as store:
        for history in store.nodes():
            click.echo(json.dumps(history_json(history)))


@reputation.command(cls=Command, epilog=exits.EPILOGUE)
@node_options.reach
@options.json_option
@options.configured(choices=())
@click.pass_context
def audit(ctx: click.Context, reach: node_options.Reach, as_json: bool, settings: Config) -> None:
    """Have other nodes check the accepted results that are due, under a fresh key, and wait for it.

    A client that stays open checks them by itself. If you only run short commands, run this one from a timer.
    Exit code 7 if a result was wrong.
    """
    if reach.gateway:
        raise click.UsageError("--gateway has no meaning here: audits are jobs of the network's nodes")
    remote = node_options.Reach(
        remote=True, peer=reach.peer, bootstrap=reach.bootstrap, node_class=reach.node_class
    )

    async def work(client: AsyncClient) -> list[Audited]:
        if client.auditor is None:
            raise click.UsageError("an audit needs other nodes than --peer")
        return await client.auditor.audit_due()

    with render.phases() as progress:
        progress("auditing")
        found = remote.client(settings).do(work)
    show_audits(ctx, found, as_json=as_json)


def show_audits(ctx: click.Context, found: list[Audited], *, as_json: bool) -> None:
    """Show what checks have found, and exit with the code for the worst."""
    if as_json:
        jobs = [
            {**_result_json(item.result), "isRight": item.is_right, "reason": item.reason} for item in found
        ]
        render.show_json({"jobs": jobs})
    elif found:
        told = {True: "right", False: "wrong", None: "not checked"}
        rows = [
            (item.result.job_id[:12], str(item.result.peer), told[item.is_right], item.reason)
            for item in found
        ]
        render.show_rows(("JOB", "PEER", "RESULT", "REASON"), rows)
    else:
        render.show_hint("no result is to be checked")
    if any(item.is_right is False for item in found):
        ctx.exit(exits.REJECTED)
    if any(item.is_right is None for item in found):
        ctx.exit(exits.UNDECIDED)


def show_doubtful(as_json: bool) -> None:
    """List the accepted results of convicted nodes that nothing has confirmed."""
    with ReputationStore() as store:
        found = store.doubtful()
    if as_json:
        render.show_json({"jobs": [_result_json(item) for item in found]})
    elif found:
        rows = [
            (item.job_id[:12], str(item.peer), item.state, item.received_at.strftime("%Y-%m-%d %H:%M:%S"))
            for item in found
        ]
        render.show_rows(("JOB", "PEER", "RESULT", "RECEIVED"), rows)
        render.show_hint("run them again here with: plasm jobs --doubtful --recheck")
    else:
        render.show_hint("no result is doubtful: no convicted node gave one that is still unchecked")


def recheck(ctx: click.Context, settings: Config, *, as_json: bool) -> None:
    """Run the jobs of doubtful results again on this machine, and show which were wrong."""
    from plasm_core.client.auditor import check_here
    from plasm_core.client.reputation import Reputation
    from plasm_core.client.result_verification import Judge

    with ReputationStore() as store, Judge((), settings) as judge, render.phases() as progress:
        known, found = Reputation(store), []
        for item in store.doubtful():
            if item.state == "unchecked":
                progress(f"checking {item.job_id[:12]}")
                found.append(check_here(item, known, judge))
    show_audits(ctx, found, as_json=as_json)


def history_json(history: NodeHistory) -> dict[str, Any]:
    """Return a history for `--json`, with the estimated error."""

    def moment(value: Any) -> str | None:
        return None if value is None else render.time_json(value)

    return {
        "peerId": str(history.peer),
        "accepted": history.accepted,
        "checked": history.checked,
        "failed": history.failed,
        "trust": round(history.trust, 3),
        "error": float(f"{node_error(history):.3g}"),
        "convictedAt": moment(history.convicted_at),
        "proof": None if history.proof is None else str(history.proof),
        "firstSeen": moment(history.first_seen),
        "lastSeen": moment(history.last_seen),
        "network": history.network,
        "networkNodes": history.network_nodes,
        "networkConvicted": history.network_convicted,
    }


def _result_json(item: AcceptedResult) -> dict[str, Any]:
    return {
        "jobId": item.job_id,
        "peerId": str(item.peer),
        "result": item.state,
        "receivedAt": render.time_json(item.received_at),
    }


def _row(history: NodeHistory) -> tuple[str, ...]:
    proof = "" if history.proof is None else str(history.proof)
    return (
        str(history.peer),
        str(history.accepted),
        str(history.checked),
        str(history.failed),
        "convicted" if history.is_convicted else f"≤ {error_text(node_error(history))}",
        "" if history.last_seen is None else history.last_seen.strftime("%Y-%m-%d %H:%M"),
        proof if history.proof is None or history.proof.exists() else f"{proof} (no longer kept)",
    )
