"""`plasm verify --fraud FILE`: run a fraud proof's task on this machine, and name who signed a false receipt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from plasm_core.cli import exits, option_values, options, render
from plasm_core.cli.file_options import FileOptions
from plasm_core.client.fraud_proofs import prosecute
from plasm_core.errors import InvalidRecordError, ProofRefusedError
from plasm_core.fraud import WALL_TIME_S, Finding, convict, missing_inputs, read_proof, signed_receipt
from plasm_core.input_file import is_stored, open_input, read_some
from plasm_core.local_node import LocalNode
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Decision, Envelope, JobInput, Laboratory, Verdict
from plasm_core.records.digest import decode_list, encode_list
from plasm_core.records.fraud_proof import FRAUD_PROOF_FORMAT, MAX_FRAUD_PROOF_BYTES, FraudProof
from plasm_core.records.verdict import BINDINGS
from plasm_core.reexecution import NodeLaboratory

_HEAD_BYTES = 4096
_OTHERS = ("stdout_file", "stderr_file", "manifest_file", "keys", "job", "chain", "reexecute")
_WORDS = {Decision.ACCEPT: "proven", Decision.REJECT: "refused", Decision.UNDECIDED: "undecided"}
CODES = {
    Decision.ACCEPT: exits.OK,
    Decision.REJECT: exits.REJECTED,
    Decision.UNDECIDED: exits.UNDECIDED,
}
_OPTIONS = {"module": "--module", "args": "--arg", "env": "--env", "stdin": "--stdin"}


@attrs.frozen(kw_only=True)
class GivenInputs:
    """Inputs of the task that the command line gives because a proof may lack them, as in `FraudProof.inputs`."""

    inputs: dict[str, bytes] = attrs.field(repr=False)
    files: FileOptions

    @classmethod
    def of(
        cls,
        module: str | None,
        stdin: str | None,
        args: tuple[str, ...],
        env: tuple[str, ...],
        files: FileOptions,
    ) -> GivenInputs:
        """Read them. Raises: `click.ClickException`."""
        found: dict[str, bytes] = {}
        if module is not None:
            found["module"] = option_values.read_file(module, maximum=options.MAX_MODULE_BYTES, what="module")
        if stdin is not None:
            found["stdin"] = option_values.read_file(
                stdin, maximum=options.MAX_STDIN_BYTES, what="standard input"
            )
        if args:
            found["args"] = encode_list(option_values.arguments(args))
        if env:
            found["env"] = encode_list(option_values.environment(env))
        return cls(inputs=found, files=files)


def is_fraud_proof(path: str) -> bool:
    """Return whether a file is a fraud proof, by its first bytes."""
    if not is_stored(path):
        return False
    try:
        with open_input(path) as file:
            return f'"{FRAUD_PROOF_FORMAT}"'.encode() in read_some(file, _HEAD_BYTES)
    except OSError:
        return False


def verify_file(
    ctx: click.Context, path: str, node: LocalNode, given: GivenInputs, *, as_json: bool, quiet: bool
) -> int:
    """Judge a fraud proof, show the finding, and return the exit code."""
    options.refuse_given(ctx, _OTHERS, "is about receipts: it has no effect on a fraud proof")
    _, finding = judge_file(path, node, given)
    if as_json:
        render.show_json(finding_json(finding))
    elif not (quiet and finding.decision is Decision.ACCEPT):
        show_finding(finding)
    return CODES[finding.decision]


def judge_file(path: str, node: LocalNode, given: GivenInputs) -> tuple[FraudProof | None, Finding]:
    """Read a proof, run its task on this machine, and return both; None if the file is no proof.

    Raises: `click.ClickException` if the file cannot be read.
    """
    data = option_values.read_file(path, maximum=MAX_FRAUD_PROOF_BYTES, what="fraud proof")
    try:
        proof = read_proof(data)
        asked = signed_receipt(proof.envelopes[0]).asked
    except ProofRefusedError as exc:
        return None, Finding(decision=Decision.REJECT, reasons=(str(exc),), code=exc.code)
    proof = attrs.evolve(proof, inputs={**given.inputs, **proof.inputs})
    lacking = missing_inputs(proof, asked)
    if lacking:
        named = ", ".join(f"the {name} ({_OPTIONS[name]})" for name in lacking)
        finding = convict(proof, None)
        if finding.decision is Decision.UNDECIDED:
            finding = attrs.evolve(
                finding, reasons=(*finding.reasons, f"the proof lacks {named}: give it with the option")
            )
        return proof, finding

    def load() -> tuple[bytes, JobInput]:
        try:
            return proof.inputs["module"], JobInput(
                args=decode_list(proof.inputs.get("args", b"")),
                env=decode_list(proof.inputs.get("env", b"")),
                stdin=proof.inputs.get("stdin", b""),
            )
        except ValueError as exc:  # the digest belongs to the task, so the task itself cannot run on any node
            raise InvalidRecordError("fraud proof", [("inputs", str(exc))]) from exc

    wall_time_s = _wall_time_s(node)
    if given.files.given:
        with given.files.packed() as (pack, _):
            return proof, convict(proof, NodeLaboratory(node, load, files=pack), wall_time_s=wall_time_s)
    finding = convict(proof, NodeLaboratory(node, load), wall_time_s=wall_time_s)
    if finding.decision is Decision.UNDECIDED and asked.files is not None:
        needs = (
            "a proof has no files of the job: give them with --file, --dir and --out, as plasm run had them"
        )
        finding = attrs.evolve(finding, reasons=(*finding.reasons, needs))
    return proof, finding


def _wall_time_s(node: LocalNode) -> int:
    """Return how long the task may be run: as long as the verifier `reexecute` would. Raises: `PluginError`."""
    table = node.config.table("verifier", "reexecute")
    if not table:
        return WALL_TIME_S
    made = loading.create(Verifier, "reexecute", table)  # type: ignore[type-abstract]
    return int(getattr(made, "wall_time_s", WALL_TIME_S))


def prove(
    verdict: Verdict,
    envelopes: Sequence[bytes],
    laboratory: Laboratory | None,
    module: Callable[[], bytes],
    stdin: Callable[[], bytes],
    inputs: JobInput,
) -> Path | None:
    """Keep a fraud proof if a verifier rejected receipts because others, or a run on this machine, contradict them.

    Return its file. Receipts that were rejected for another reason (wrong module, input or signature) give no proof.
    """
    by_result = any(
        opinion.decision is Decision.REJECT and opinion.verifier not in (BINDINGS, "signature")
        for opinion in verdict.opinions
    )
    if not by_result:
        return None
    given = {"args": encode_list(inputs.args), "env": encode_list(inputs.env)}
    if laboratory is not None:
        given |= {"module": module(), "stdin": stdin()}
    path, _ = prosecute(
        [Envelope.from_json(item) for item in envelopes],
        {name: data for name, data in given.items() if data},
        laboratory,
    )
    return path


def show_finding(finding: Finding) -> None:
    """Print a finding for people."""
    if finding.decision is Decision.REJECT:
        render.show_mark("✗", f"fraud proof refused: {'; '.join(finding.reasons)}")
        return
    for item in finding.convictions:
        render.show_mark("✗", f"{item.node} signed a false receipt: {'; '.join(item.reasons)}")
    for peer in finding.cleared:
        render.show_mark("✓", f"{peer} signed what this machine found too")
    mark = "✓" if finding.decision is Decision.ACCEPT else "?"
    task = "" if finding.asked is None else f" task {finding.asked.task_digest}"
    render.show_mark(mark, "; ".join([f"fraud {_WORDS[finding.decision]}:{task}", *finding.reasons]))


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON shows it."""
    return {
        "decision": _WORDS[finding.decision],
        "code": finding.code,
        "taskDigest": None if finding.asked is None else finding.asked.task_digest,
        "convicted": [
            {"node": str(item.node), "reasons": list(item.reasons)} for item in finding.convictions
        ],
        "cleared": [str(peer) for peer in finding.cleared],
        "engines": list(finding.engines),
        "reasons": list(finding.reasons),
    }
