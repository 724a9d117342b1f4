"""Deciding whether a node's answer holds, before anyone is shown it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property

import attrs
import trio

from plasm_core import assurance
from plasm_core.abc import Verifier
from plasm_core.assurance import Standing
from plasm_core.client.result import JobResult
from plasm_core.client.sink import Digesting
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import ProtocolError, ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.laboratory import NodeLaboratory
from plasm_core.node import Node
from plasm_core.records import Asked, Decision, Handle, Observables, Outcome, PeerId, Receipt, Verdict
from plasm_core.verification import Answer, Expectation, verify_all
from plasm_core.wire.frames import Channel
from plasm_core.wire.messages import Result, Status


@attrs.frozen(kw_only=True)
class Given:
    """What one node gave for a job: its result, and digests and sizes of the output that came."""

    handle: Handle
    signer: PeerId
    end: Result
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int

    @classmethod
    def of(cls, handle: Handle, end: Result, output: Digesting, *, believed: bool) -> Given:
        """Return what was given, with the digests of what a sink took.

        `believed`: the node may say that another ran the job, as a gateway of one's own does.
        """
        return cls(
            handle=handle,
            signer=_peer(end.status.node) if believed and end.status.node else handle.peer,
            end=end,
            stdout=output.digest(Channel.STDOUT),
            stderr=output.digest(Channel.STDERR),
            stdout_bytes=output.size_bytes(Channel.STDOUT),
            stderr_bytes=output.size_bytes(Channel.STDERR),
        )


def _peer(text: str) -> PeerId:
    try:
        return PeerId.parse(text)
    except ValueError as exc:
        raise ProtocolError(f"the node names no proper identity: {exc}") from exc


def _tells_of(status: Status, outcome: Outcome) -> bool:
    """Return whether a node's unsigned word on how a job ended is the one that it signed."""
    return status.state == outcome.state and status.outcome in (None, outcome.kind)


class Judge:
    """Asks all verifiers. For those that run a job again it has a node of its own, made when one does."""

    def __init__(self, verifiers: Sequence[Verifier], config: Config, *, require: str = "signature") -> None:
        self.verifiers = verifiers
        self._signature = [verifier for verifier in verifiers if verifier.name == "signature"]
        self._config = config
        self._require = require
        self._made: Node | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.close()

    def node(self) -> Node:
        """Return the node, made by now. Thread-safe."""
        with self._lock:
            self._made = self._made or Node(self._config)
            return self._made

    def standing(self, signer: PeerId) -> Standing:
        """Return what the configuration says of a node."""
        return Standing.NAMED if str(signer) in self._config.plasm.known else Standing.STRANGER

    def require(self, result: JobResult) -> JobResult:
        """Return a result that suffices. Raises: `ReceiptUndecidedError`."""
        assurance.insist(self._require, result.verdict, result.standing)
        return result

    async def judge(
        self,
        given: Sequence[Given],
        *,
        manifest_json: bytes | None = None,
        job: Submission | None = None,
        signature_only: bool = False,
    ) -> tuple[Receipt, Verdict]:
        """Return the first answer's receipt and the verdict on all of them.

        `job` gives the bytes to those verifiers that run it again. `signature_only`: ask none but the verifier
        `signature`, if there is one.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`.
        """
        answers = [
            Answer(
                envelope_json=item.end.envelope.encode(),
                expectation=Expectation(
                    peer=item.signer,
                    job_id=None if manifest_json else item.handle.job_id,
                    manifest_json=manifest_json,
                    stdout=item.stdout,
                    stderr=item.stderr,
                    stdout_bytes=item.stdout_bytes,
                    stderr_bytes=item.stderr_bytes,
                ),
            )
            for item in given
        ]
        laboratory = _LateLaboratory(self, job) if job is not None else None
        verifiers = (self._signature if signature_only else None) or self.verifiers
        receipts, verdict = await trio.to_thread.run_sync(
            lambda: verify_all(answers, verifiers, laboratory=laboratory)
        )
        if verdict.decision is Decision.REJECT:
            raise ReceiptRejectedError(verdict.reasons)
        for item, receipt in zip(given, receipts, strict=True):
            if receipt is None or not _tells_of(item.end.status, receipt.result.outcome):
                raise ReceiptRejectedError(("the node tells another end of the job than its receipt",))
        if verdict.decision is not Decision.ACCEPT or receipts[0] is None:
            raise ReceiptUndecidedError(verdict.reasons)
        return receipts[0], verdict


class _LateLaboratory:
    """A laboratory that is set up when a verifier first enters it: most never do."""

    def __init__(self, judge: Judge, job: Submission) -> None:
        self._judge = judge
        self._job = job

    @cached_property
    def _laboratory(self) -> NodeLaboratory:
        return NodeLaboratory(self._judge.node(), self._job.load)

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """As `Laboratory.runtimes`."""
        return self._laboratory.runtimes(asked, among)

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        """As `Laboratory.run`."""
        return self._laboratory.run(asked, runtime=runtime, wall_time_s=wall_time_s)
