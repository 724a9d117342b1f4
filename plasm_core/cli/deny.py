"""`plasm deny --proof FILE`: deny the nodes that a fraud proof convicts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from plasm_core import paths
from plasm_core.cli import options, render
from plasm_core.cli.file_options import FileOptions, file_options
from plasm_core.cli.verify_fraud import CODES, GivenInputs, finding_json, judge_file, show_finding
from plasm_core.client.fraud_proofs import keep_proof
from plasm_core.client.reputation_store import ReputationStore
from plasm_core.config import Config
from plasm_core.denied_nodes import deny as deny_nodes
from plasm_core.denied_nodes import drop_in_of
from plasm_core.errors import ConfigError, StorageError
from plasm_core.local_node import LocalNode
from plasm_core.records import Decision, PeerId


@options.command()
@click.option("--proof", metavar="FILE", required=True, help="A fraud proof: see plasm verify --fraud.")
@click.option("--module", "module_file", metavar="FILE", help="The task's module, if the proof lacks it.")
@click.option(
    "--stdin", "stdin_file", metavar="FILE", help="The task's standard input, if the proof lacks it."
)
@click.option(
    "--arg", "args", multiple=True, metavar="VALUE", help="The task's argument, if the proof lacks it."
)
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="The task's variable, if the proof lacks it."
)
@file_options(limits=False)
@options.json_option
@options.configured(choices=(), sandboxed=True)
@click.pass_context
def deny(
    ctx: click.Context,
    proof: str,
    module_file: str | None,
    stdin_file: str | None,
    args: tuple[str, ...],
    env: tuple[str, ...],
    job_files: FileOptions,
    as_json: bool,
    settings: Config,
) -> None:
    """Verify a fraud proof, and deny the nodes that it convicts: run no job of theirs, and give them none.

    Their PeerIds are added to policy.convicted in convicted.toml, in the directory of drop-ins next to the
    configuration file, and this user's clients never use them again. A running daemon reads it on SIGHUP.

    Exit code 0 if a node is convicted; 7 if the proof is refused; 8 if the task could not be run here.
    """
    drop_in = _drop_in(ctx)
    given = GivenInputs.of(module_file, stdin_file, args, env, job_files)
    with LocalNode(settings) as node:
        found, finding = judge_file(proof, node, given)
    convicted = tuple(item.node for item in finding.convictions)
    added: tuple[PeerId, ...] = ()
    if found is not None and finding.decision is Decision.ACCEPT:
        added = deny_nodes(convicted, drop_in)
        _remember(convicted, keep_proof(found.envelopes, found.inputs) or Path(proof).absolute())
    if as_json:
        value: dict[str, Any] = {
            **finding_json(finding),
            "added": [str(peer) for peer in added],
            "file": str(drop_in) if convicted else None,
        }
        render.show_json(value)
    else:
        show_finding(finding)
        for peer in convicted:
            told = "denied from now on" if peer in added else "was denied already"
            render.show_mark("✓", f"{peer} {told}: {drop_in}")
        if added:
            render.show_hint("a running daemon reads it after: systemctl reload plasmd, or kill -HUP")
    ctx.exit(CODES[finding.decision])


def _drop_in(ctx: click.Context) -> Path:
    """Return the drop-in of the configuration file in use. Raises: `ConfigError`."""
    named = ctx.params.get("config_file") or os.environ.get("PLASM_CONFIG")
    file = Path(named) if named else paths.config_file()
    if file is None:
        raise ConfigError("there is no home directory for a configuration", hint="name a file with --config")
    return drop_in_of(file)


def _remember(nodes: tuple[PeerId, ...], proof: Path) -> None:
    """Have this user's clients avoid nodes. The policy counts for the daemon in any case."""
    try:
        with ReputationStore() as store:
            for peer in nodes:
                store.convict(peer, proof)
    except StorageError as exc:
        render.show_mark("!", f"this user's clients do not know of it: {exc}", stderr=True)
