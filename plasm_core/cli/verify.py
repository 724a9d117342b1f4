"""`plasm verify`: is a receipt signed by a key I trust, and does it speak of these files?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property

import attrs
import click

from plasm_core import assurance
from plasm_core.bundle.archive import is_bundle
from plasm_core.cli import (
    exits,
    option_values,
    options,
    render,
    stdin,
    verify_batch,
    verify_bundle,
    verify_fraud,
)
from plasm_core.cli.file_options import FileOptions, file_options
from plasm_core.cli.scripts import as_script
from plasm_core.cli.unreadable import unreadable
from plasm_core.cli.verify_hint import files_hint
from plasm_core.client.receipt_verification import standing_of
from plasm_core.config import Config
from plasm_core.errors import InvalidRecordError, KeyFileError
from plasm_core.input_file import is_stored, open_input, read_some
from plasm_core.local_node import LocalNode
from plasm_core.records import Decision, Envelope, JobInput, PeerId, Receipt, list_digest, sha256
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.manifest import MAX_MANIFEST_BYTES
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.records.plan import MAX_EXECUTIONS
from plasm_core.reexecution import NodeLaboratory
from plasm_core.trusted_keys import read_key
from plasm_core.verification import Answer, Expectation, verify_all

_CHUNK_BYTES = 1 << 20


@options.command()
@click.argument("receipts", metavar="RECEIPT...", nargs=-1, required=True)
@click.option(
    "--stdout", "stdout_file", metavar="FILE", help="Compare the receipt with this standard output."
)
@click.option("--stderr", "stderr_file", metavar="FILE", help="Compare the receipt with this standard error.")
@click.option("--stdin", "stdin_file", metavar="FILE", help="Compare the receipt with this standard input.")
@click.option(
    "--arg", "args", multiple=True, metavar="VALUE", help="Compare the receipt with this argument of the job."
)
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="Compare the receipt with this environment variable."
)
@click.option(
    "--module",
    "module_file",
    metavar="FILE",
    help="Compare the receipt with this module, or this script for an interpreter of the configuration.",
)
@options.interpreter
@click.option("--manifest", "manifest_file", metavar="FILE", help="Compare the receipt with this manifest.")
@file_options(limits=False)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A key to trust: a PeerId, 64 hexadecimal digits or a public key file. Default: your own.",
)
@click.option(
    "--job", type=click.IntRange(0), metavar="N", help="Of a batch, verify only that job N belongs to it."
)
@click.option(
    "--chain",
    is_flag=True,
    help="Verify a batch and its reduction: each input is made of the results below it.",
)
@click.option(
    "--reexecute",
    is_flag=True,
    help="Run the task again too, as the verifier reexecute does: with a bundle, or with --module.",
)
@click.option(
    "--fraud",
    is_flag=True,
    help="RECEIPT is a fraud proof: run its task on this machine, and name the nodes that signed a false receipt.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing if the exit code is 0; otherwise say why.")
@options.json_option
@options.configured(choices=("signer", "verifier", "require"), sandboxed=True)
@click.pass_context
def verify(
    ctx: click.Context,
    receipts: tuple[str, ...],
    stdout_file: str | None,
    stderr_file: str | None,
    stdin_file: str | None,
    args: tuple[str, ...],
    env: tuple[str, ...],
    module_file: str | None,
    manifest_file: str | None,
    job_files: FileOptions,
    interpreter: str | None,
    keys: tuple[str, ...],
    job: int | None,
    chain: bool,
    reexecute: bool,
    fraud: bool,
    quiet: bool,
    as_json: bool,
    settings: Config,
) -> None:
    """Verify the file RECEIPT, or several nodes' receipts of one task together.

    RECEIPT may also be a bundle (`plasm bundle`), which has everything that its receipts name, or the batch.json of a
    batch, with the receipts beside it, or the proof that one job belongs to a batch.

    --file, --dir, --out and --links as plasm run had them compare the receipt with the job's files.

    With --fraud, --module, --stdin, --arg, --env, --file, --dir and --out give inputs that the proof lacks.

    Exit code 0 if all verifiers accept and the key is trusted; 7 if the receipt is rejected; 8 if it is undecided,
    or if less is established than --require asks for. With --fraud: 0 if a node is convicted; 7 if the proof is
    refused, because it proves nothing; 8 if the task could not be run here.
    """
    option_values.read_once(
        *receipts, stdout_file, stderr_file, stdin_file, module_file, manifest_file, *filter(_is_file, keys)
    )
    if fraud:
        if len(receipts) > 1:
            raise click.UsageError("--fraud takes one file")
        given = verify_fraud.GivenInputs.of(module_file, stdin_file, args, env, job_files)
        with LocalNode(settings) as node:
            ctx.exit(verify_fraud.verify_file(ctx, receipts[0], node, given, as_json=as_json, quiet=quiet))
    if any(map(verify_fraud.is_fraud_proof, receipts)):
        raise click.UsageError("this is a fraud proof: verify it with --fraud")
    if len(receipts) == 1 and verify_batch.is_batch(receipts[0]):
        options.refuse_given(ctx, ("quiet", "reexecute"), "is about receipts: it has no effect on a batch")
        trusted = frozenset(map(parse_key, keys or settings.plasm.known))
        with LocalNode(settings) as node:
            own = frozenset() if keys else _own_key(node)
        if chain and job is not None:
            raise click.UsageError("--chain verifies all jobs: it excludes --job")
        if chain:
            ctx.exit(verify_batch.verify_levels(ctx, receipts[0], trusted | own, as_json))
        ctx.exit(verify_batch.verify_file(ctx, receipts[0], job, trusted | own, as_json))
    if reexecute and "reexecute" not in settings.plasm.verifier:
        chosen = (*settings.plasm.verifier, "reexecute")
        settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    if len(receipts) == 1 and is_bundle(receipts[0]):
        chosen = assurance.verifiers_for(settings.plasm.require, settings.plasm.verifier)
        settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
        with LocalNode(settings) as node:
            named = frozenset(map(parse_key, keys or settings.plasm.known))
            own = frozenset() if keys else _own_key(node)
            ctx.exit(verify_bundle.verify_file(ctx, receipts[0], node, own, named, as_json, quiet))
    if job is not None or chain:
        raise click.UsageError("--job and --chain are about a batch: RECEIPT is to be its batch.json")
    script = None
    if module_file is not None:
        script = as_script(module_file, args, job_files, settings.interpreters, named=interpreter)
    if script is not None:
        module_file, args, job_files = script.module, script.args, script.files
        env = (*map(os.fsdecode, script.env), *env)
    module = _File(module_file, settings.admission.module_bytes, "module")
    stdin = _File(stdin_file, options.MAX_STDIN_BYTES, "standard input")
    named_outputs = {OutputStream.STDOUT: stdout_file, OutputStream.STDERR: stderr_file}
    inputs = JobInput(args=option_values.arguments(args), env=option_values.environment(env))
    if len(receipts) > MAX_EXECUTIONS:
        raise click.BadParameter(f"more than {MAX_EXECUTIONS} receipts")
    _refuse_options_of_runs(ctx, settings, module_file)
    require = settings.plasm.require
    chosen = assurance.verifiers_for(require, settings.plasm.verifier)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    trusted = frozenset(map(parse_key, keys or settings.plasm.known))
    envelopes = [
        option_values.read_file(receipt, maximum=MAX_ENVELOPE_BYTES, what="receipt") for receipt in receipts
    ]
    outputs = {
        stream: _output(file, _stated_bytes(envelopes, stream))
        for stream, file in named_outputs.items()
        if file is not None
    }
    with contextlib.ExitStack() as opened:
        pack = opened.enter_context(job_files.packed())[0] if job_files.has_inputs else None
        node = opened.enter_context(LocalNode(settings))
        own = frozenset() if keys else _own_key(node)
        expectation = Expectation(
            trusted=trusted | own,
            manifest_json=(
                option_values.read_file(manifest_file, maximum=MAX_MANIFEST_BYTES, what="manifest")
                if manifest_file
                else None
            ),
            module=module.digest,
            args=list_digest(inputs.args) if args else None,
            env=list_digest(inputs.env) if env else None,
            stdin=stdin.digest,
            outputs=outputs,
            tree=None if pack is None else pack.tree,
            files={guest: job_files.product(guest, host) for guest, host in job_files.targets.items()},
        )
        answers = [Answer(envelope_json=envelope, expectation=expectation) for envelope in envelopes]
        progress = opened.enter_context(render.phases())
        laboratory = NodeLaboratory(
            node,
            lambda: (module.read(), attrs.evolve(inputs, stdin=stdin.read())),
            files=pack,
            progress=progress,
        )
        at_hand = laboratory if module_file else None
        found, verdict = verify_all(answers, node.verifiers, laboratory=at_hand)
        proof = verify_fraud.prove(verdict, envelopes, at_hand, module.read, stdin.read, inputs)
    outcome = str(found[0].result.outcome) if found[0] else None
    standing = standing_of(verdict, own, trusted)
    lacking = (
        assurance.lacking_in_file(require, verdict, standing) if verdict.decision is Decision.ACCEPT else None
    )
    if as_json:
        render.show_json(
            {
                **render.verdict_json(verdict, standing),
                "outcome": render.outcome_json(found[0].result.outcome if found[0] else None),
                "lacking": lacking,
                "fraudProof": None if proof is None else str(proof),
            }
        )
    elif not (quiet and verdict.decision is Decision.ACCEPT and lacking is None):
        render.show_mark(*render.verdict_line(verdict, standing=standing))
        if proof is not None:
            render.show_mark("!", f"fraud proof: {proof}")
        if lacking is not None:
            render.show_mark("?", f"more is required: {lacking}")
        signed_for = {receipt.claims.runtime.name for receipt in found if receipt is not None}
        if laboratory.passed_over and laboratory.ran_on and signed_for.issuperset(laboratory.ran_on):
            why_not = "; ".join(laboratory.passed_over)
            render.show_mark("!", f"no other engine ran it again: {why_not}")
        tree = None if pack is None else pack.tree
        render.show_advice(files_hint(verdict, found[0], tree, runs="reexecute" in chosen))
        known = (own | trusted).issuperset(verdict.signers)
        if verdict.decision is Decision.UNDECIDED and verdict.signers and not keys and not known:
            hint = "a file does not say which node was dialled, as plasm run knew: name the key with --key"
            click.echo(f"    {hint}", err=True)
        if outcome and verdict.decision is Decision.ACCEPT:
            render.show_fields([("the job", outcome)])
    codes = {
        Decision.ACCEPT: exits.OK,
        Decision.REJECT: exits.REJECTED,
        Decision.UNDECIDED: exits.UNDECIDED,
    }
    ctx.exit(exits.UNDECIDED if lacking is not None else codes[verdict.decision])


def _refuse_options_of_runs(ctx: click.Context, settings: Config, module_file: str | None) -> None:
    """Refuse options that affect only another run of the task, if no verifier runs it again. Raises:
    `click.UsageError`.
    """
    chosen = assurance.verifiers_for(settings.plasm.require, settings.plasm.verifier)
    if module_file is None:
        why = "is about running the task again: it has no effect without --module"
        options.refuse_given(ctx, ("require_sandbox",), why)
    elif {"signature", "quorum"}.issuperset(chosen):
        why = "is about running the task again, which no verifier does: add --verifier reexecute"
        options.refuse_given(ctx, ("require_sandbox",), why)


@attrs.frozen(slots=False)
class _File:
    """A file of the job's, read for its digest and again if its bytes are asked for. What is no stored file is kept."""

    path: str | None
    maximum: int
    what: str

    @cached_property
    def _kept(self) -> bytes:
        return option_values.read_file(self.path or "", maximum=self.maximum, what=self.what)

    @property
    def _is_stored(self) -> bool:
        return self.path != "-" and is_stored(self.path or "")

    @property
    def digest(self) -> str | None:
        if self.path is None:
            return None
        if not self._is_stored:
            return sha256(self._kept)
        return _output(self.path, None).sha256

    def read(self) -> bytes:
        """Return the file's bytes, none if there is no file."""
        return b"" if self.path is None else self._kept


def parse_key(text: str) -> PeerId:
    """Parse the value of `--key`: a file if one has that name, else a PeerId. Raises: `click.BadParameter`."""
    try:
        return read_key(text)
    except OSError as exc:
        raise click.BadParameter(
            f"--key {text}: no PeerId, no hexadecimal key, and no file to read ({exc.strerror})"
        ) from exc
    except ValueError as exc:
        raise click.BadParameter(f"--key {text}: {exc}") from exc


def _is_file(key: str) -> bool:
    return os.path.exists(key)


def _own_key(node: LocalNode) -> frozenset[PeerId]:
    try:
        own = node.signer.existing_peer_id()
    except KeyFileError as exc:
        render.show_mark("!", f"your own key is not used: {exc}", stderr=True)
        return frozenset()
    return frozenset() if own is None else frozenset({own})


def _stated_bytes(envelopes: Sequence[bytes], stream: OutputStream) -> int:
    """Return the size of the largest such output that the receipts state."""
    sizes = [0]
    for envelope_json in envelopes:
        with contextlib.suppress(InvalidRecordError):  # the verdict says what is wrong with it
            receipt = Receipt.from_statement(Envelope.from_json(envelope_json).payload)
            sizes.append(receipt.output(stream).size_bytes)
    return max(sizes)


def _output(file: str, stated_bytes: int | None) -> OutputDigest:
    """Return the digest and size of a file's bytes.

    `stated_bytes`: the size in the receipts. A pipe or a device is read to one byte beyond that size: that suffices
    to differ, and the pipe may never end.
    """
    hasher = OutputHasher()
    most = None if stated_bytes is None or is_stored(file) else stated_bytes + 1
    try:
        with stdin.telling(file), open_input(file) as source:
            while chunk := read_some(source, _CHUNK_BYTES if most is None else min(_CHUNK_BYTES, most)):
                hasher.update(chunk)
                if most is not None and not (most := most - len(chunk)):
                    break
    except OSError as exc:
        raise unreadable(file, exc) from exc
    if most == 0:
        text = f"{file} was read only up to byte {hasher.size_bytes}: no receipt states that much output"
        render.show_mark("!", text, stderr=True)
    return hasher.digest
