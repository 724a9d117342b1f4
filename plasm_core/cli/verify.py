"""`plasm verify`: is a receipt signed by a key I trust, and does it speak of these files?"""

from __future__ import annotations

import os
import re
from functools import cached_property

import attrs
import click

from plasm_core import assurance
from plasm_core.assurance import Standing
from plasm_core.cli import exits, options, render
from plasm_core.config import Config
from plasm_core.errors import KeyFileError
from plasm_core.input_file import is_stored, open_input, read_input, read_some
from plasm_core.issuer import OutputDigest
from plasm_core.laboratory import NodeLaboratory
from plasm_core.node import Node
from plasm_core.records import Decision, JobInput, PeerId, Verdict, list_digest, sha256
from plasm_core.records.cid import parse_peer
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.manifest import MAX_MANIFEST_BYTES
from plasm_core.records.plan import MAX_EXECUTIONS
from plasm_core.records.spki import read_public_key
from plasm_core.verification import Answer, Expectation, verify_all

_MAX_KEY_BYTES = 65_536


@options.command()
@click.argument("receipts", metavar="RECEIPT...", nargs=-1, required=True)
@click.option("--stdout", "stdout_file", metavar="FILE", help="The output the receipt should speak of.")
@click.option("--stderr", "stderr_file", metavar="FILE", help="The same for stderr.")
@click.option("--stdin", "stdin_file", metavar="FILE", help="The input it should speak of.")
@click.option("--arg", "args", multiple=True, metavar="VALUE", help="An argument it should speak of.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable it should speak of.")
@click.option("--module", "module_file", metavar="FILE", help="The module it should speak of.")
@click.option("--manifest", "manifest_file", metavar="FILE", help="The manifest that was sent.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A key to trust: a PeerId, 64 hexadecimal digits or a public key file. Default: your own.",
)
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
    keys: tuple[str, ...],
    as_json: bool,
    settings: Config,
) -> None:
    """Verify the file RECEIPT, or several nodes' receipts of one task together.

    Exit code 0 only with a trusted key; 7 when the receipt is rejected; 8 when nothing could be decided, or
    less is established than --require asks for.
    """
    named = (*receipts, stdout_file, stderr_file, stdin_file, module_file, manifest_file)
    if named.count("-") > 1:
        raise click.UsageError("standard input (-) can be read once only")
    module = _File(module_file, settings.admission.module_bytes, "module")
    stdin = _File(stdin_file, options.MAX_STDIN_BYTES, "standard input")
    stdout, stderr = _output(stdout_file), _output(stderr_file)
    inputs = JobInput(args=options.arguments(args), env=options.environment(env))
    if len(receipts) > MAX_EXECUTIONS:
        raise click.BadParameter(f"more than {MAX_EXECUTIONS} receipts")
    require = settings.plasm.require
    chosen = assurance.verifiers_for(require, settings.plasm.verifier)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    trusted = frozenset(map(parse_key, keys or settings.plasm.known))
    with Node(settings) as node:
        assurance.check_possible(require, {item for each in node.verifiers for item in each.establishes})
        own = frozenset() if keys else _own_key(node)
        expectation = Expectation(
            trusted=trusted | own,
            manifest_json=(
                options.read_file(manifest_file, maximum=MAX_MANIFEST_BYTES, what="manifest")
                if manifest_file
                else None
            ),
            module=module.digest,
            args=list_digest(inputs.args) if args else None,
            env=list_digest(inputs.env) if env else None,
            stdin=stdin.digest,
            stdout=stdout.hexdigest if stdout else None,
            stderr=stderr.hexdigest if stderr else None,
            stdout_bytes=stdout.size_bytes if stdout else None,
            stderr_bytes=stderr.size_bytes if stderr else None,
        )
        answers = [
            Answer(
                envelope_json=options.read_file(receipt, maximum=MAX_ENVELOPE_BYTES, what="receipt"),
                expectation=expectation,
            )
            for receipt in receipts
        ]
        laboratory = NodeLaboratory(node, lambda: (module.read(), attrs.evolve(inputs, stdin=stdin.read())))
        found, verdict = verify_all(answers, node.verifiers, laboratory=laboratory if module_file else None)
    outcome = str(found[0].result.outcome) if found[0] else None
    standing = _standing(verdict, own, trusted)
    lacking = assurance.lacking(require, verdict, standing) if verdict.decision is Decision.ACCEPT else None
    if as_json:
        render.show_json({**render.verdict_json(verdict, standing), "outcome": outcome, "lacking": lacking})
    else:
        render.show_mark(*render.verdict_line(verdict, standing=standing))
        if lacking is not None:
            render.show_mark("?", f"more is required: {lacking}")
        if verdict.decision is Decision.UNDECIDED and verdict.signers and not keys:
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


@attrs.frozen(slots=False)
class _File:
    """A file of the job's, read for its digest and again if its bytes are asked for. What is no stored file is kept."""

    path: str | None
    maximum: int
    what: str

    @cached_property
    def _kept(self) -> bytes:
        return options.read_file(self.path or "", maximum=self.maximum, what=self.what)

    @property
    def _is_stored(self) -> bool:
        return self.path != "-" and is_stored(self.path or "")

    @property
    def digest(self) -> str | None:
        if self.path is None:
            return None
        if not self._is_stored:
            return sha256(self._kept)
        found = _output(self.path)
        return None if found is None else found.hexdigest

    def read(self) -> bytes:
        """Return the file's bytes, none if there is no file."""
        return b"" if self.path is None else self._kept


def parse_key(text: str) -> PeerId:
    """Read a key as `--key` takes it: what is a file is one, whatever its name. Raises: `click.BadParameter`."""
    try:
        if not os.path.exists(text):
            found = _named_key(text)
            if found is not None:
                return found
        return read_public_key(read_input(text, _MAX_KEY_BYTES))
    except OSError as exc:
        raise click.BadParameter(
            f"--key {text}: no PeerId, no hexadecimal key, and no file to read ({exc.strerror})"
        ) from exc
    except ValueError as exc:
        raise click.BadParameter(f"--key {text}: {exc}") from exc


def _named_key(text: str) -> PeerId | None:
    """Read a key that is written out. Return None if it is the name of a file. Raises: ValueError."""
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return PeerId.from_public_key(bytes.fromhex(text))
    if re.fullmatch("[A-Za-z0-9]{40,128}", text):
        return parse_peer(text)
    return None


def _standing(verdict: Verdict, own: frozenset[PeerId], named: frozenset[PeerId]) -> Standing:
    """Return what is known of those who signed: the least of what is known of each."""
    if not verdict.signers or not (own | named).issuperset(verdict.signers):
        return Standing.STRANGER
    return Standing.OWN if own.issuperset(verdict.signers) else Standing.NAMED


def _own_key(node: Node) -> frozenset[PeerId]:
    try:
        own = node.signer.existing_peer_id()
    except KeyFileError as exc:
        render.show_mark("!", f"your own key is not used: {exc}", stderr=True)
        return frozenset()
    return frozenset() if own is None else frozenset({own})


def _output(file: str | None) -> OutputDigest | None:
    """Return digest and size of a file's bytes, None if none is named."""
    if file is None:
        return None
    digest = OutputDigest()
    try:
        with open_input(file) as source:
            while chunk := read_some(source, 1 << 20):
                digest.update(chunk)
    except OSError as exc:
        raise click.ClickException(f"cannot read {file}: {exc.strerror}") from exc
    return digest
