"""Verify a node's result before the caller sees it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from plasm_core import assurance
from plasm_core.assurance import Standing
from plasm_core.client.judged import Judged
from plasm_core.client.output import Digesting
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import ProtocolError, ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.protocol.messages import Result, Status
from plasm_core.records import (
    Asked,
    Claim,
    Decision,
    Handle,
    Laboratory,
    Observables,
    Outcome,
    PeerId,
    Receipt,
    Verdict,
)
from plasm_core.records.files import Product
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.verification import Answer, Expectation, judge_all, settle

if TYPE_CHECKING:
    from plasm_core.client.reputation import Reputation
    from plasm_core.local_node import LocalNode
    from plasm_core.reexecution import NodeLaboratory

_QUICK_BYTES = 16 << 10
"""Envelopes of more bytes are read and checked in a thread."""


@attrs.frozen(kw_only=True)
class Given:
    """One node's result for a job, with digests and sizes of the output that the client received."""

    handle: Handle
    signer: PeerId
    end: Result
    outputs: Mapping[OutputStream, OutputDigest]
    files: Mapping[str, Product | None] = attrs.field(factory=dict)
    """What was fetched of the job's outputs."""
    manifest_json: bytes | None = attrs.field(default=None, repr=False)
    """The manifest of this job: where several nodes run a task, each has a job of its own."""

    @classmethod
    def of(
        cls,
        handle: Handle,
        end: Result,
        output: Digesting,
        *,
        believed: bool,
        manifest_json: bytes | None = None,
    ) -> Given:
        """Combine a node's result with the digests of the output that went to a sink.

        `believed`: the node's statement of which node ran the job is trusted, as for the user's own gateway.
        """
        return cls(
            handle=handle,
            signer=_peer(end.status.node) if believed and end.status.node else handle.peer,
            end=end,
            outputs=output.digests,
            manifest_json=manifest_json,
        )


def _peer(text: str) -> PeerId:
    try:
        return PeerId.parse(text)
    except ValueError as exc:
        raise ProtocolError(f"the node names no proper identity: {exc}") from exc


def _tells_of(status: Status, outcome: Outcome) -> bool:
    """Return whether a node's unsigned word on how a job ended is the one that it signed."""
    return status.state == outcome.state and status.outcome in (None, outcome.kind)


@attrs.frozen(kw_only=True)
class Judgement:
    """The verdict on nodes' results of one task, with the receipt of the first result.

    `problem`: the error of a verdict that does not accept, else None. `proofs`: the convicted nodes, each with the
    fraud proof's file, None if it could not be kept.
    """

    receipt: Receipt | None
    verdict: Verdict
    judged: Judged
    problem: ReceiptRejectedError | ReceiptUndecidedError | None = None
    proofs: Mapping[PeerId, Path | None] = attrs.field(factory=dict)

    def accepted(self) -> tuple[Receipt, Verdict]:
        """Return the receipt and the verdict. Raises: the problem."""
        if self.problem is not None or self.receipt is None:
            raise self.problem or ReceiptUndecidedError(self.verdict.reasons)
        return self.receipt, self.verdict


class Judge:
    """Asks the verifiers about results.

    It opens a `LocalNode` when a verifier first runs a job again. `reputation`: stores the lessons about nodes; None
    stores none.
    """

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        config: Config,
        *,
        require: str = "signature",
        reputation: Reputation | None = None,
    ) -> None:
        self.verifiers = verifiers
        self._signature = [verifier for verifier in verifiers if verifier.name == "signature"]
        self._config = config
        self._require = require
        self._reputation = reputation
        self._reports = [item for item in verifiers if type(item).settled is not Verifier.settled]
        self._keeps_inputs = any(item.keeps_inputs for item in verifiers)
        self._made: LocalNode | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.close()

    @property
    def signature_is_all(self) -> bool:
        """Whether judging with `signature_only` asks every verifier there is."""
        return not self._signature or len(self._signature) == len(self.verifiers)

    def node(self) -> LocalNode:
        """Return the node for re-execution; open it at the first call. Thread-safe."""
        with self._lock:
            from plasm_core.local_node import LocalNode  # most verifiers run nothing

            self._made = self._made or LocalNode(self._config)
            return self._made

    def laboratory(self, job: Submission) -> Laboratory:
        """Return a laboratory that runs a job again on this machine."""
        return _LateLaboratory(self, job)

    def standing(self, signer: PeerId) -> Standing:
        """Return the standing that the configuration gives to a node."""
        if str(signer) not in self._config.plasm.known:
            return Standing.STRANGER
        is_convicted = self._reputation is not None and self._reputation.history(signer).is_convicted
        return Standing.CONVICTED if is_convicted else Standing.NAMED

    def require(self, result: JobResult) -> JobResult:
        """Return the result if it has the required assurance. Raises: `ReceiptUndecidedError`."""
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
        """As `consider`, but return the receipt and the verdict.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`.
        """
        judgement = await self.consider(
            given, manifest_json=manifest_json, job=job, signature_only=signature_only
        )
        return judgement.accepted()

    async def consider(
        self,
        given: Sequence[Given],
        *,
        manifest_json: bytes | None = None,
        job: Submission | None = None,
        signature_only: bool = False,
        is_final: bool = True,
    ) -> Judgement:
        """Verify several nodes' results of one task together.

        `job` provides module and input to verifiers that run the job again. `signature_only`: ask only the verifier
        `signature`, if it is configured. `is_final`: if it is accepted, no other judgement of it follows.
        """
        answers = [
            Answer(
                envelope_json=item.end.envelope.encode(),
                expectation=Expectation(
                    peer=item.signer,
                    job_id=None if item.manifest_json or manifest_json else item.handle.job_id,
                    manifest_json=item.manifest_json or manifest_json,
                    outputs=item.outputs,
                    files=item.files,
                ),
                history=self._reputation.history(item.signer) if self._reputation else None,
            )
            for item in given
        ]
        laboratory = _LateLaboratory(self, job) if job is not None else None
        verifiers = (self._signature if signature_only else None) or self.verifiers
        judging = functools.partial(judge_all, answers, verifiers, laboratory=laboratory)
        is_quick = all(verifier.is_quick for verifier in verifiers)
        if is_quick and sum(len(answer.envelope_json) for answer in answers) <= _QUICK_BYTES:
            claims, verdict = judging()  # a thread would take longer than the work
        else:
            claims, verdict = await trio.to_thread.run_sync(judging)
        problem = _problem(given, claims, verdict)
        judged = Judged(
            nodes=[item.signer for item in given],
            claims=claims,
            verdict=verdict,
            job=job,
            manifests=[item.manifest_json for item in given if item.manifest_json is not None],
            keeps_inputs=self._keeps_inputs,
        )
        is_over = problem is not None or is_final
        proofs: Mapping[PeerId, Path | None] = {}
        if is_over and (self._reputation is not None or self._reports):
            proofs = await trio.to_thread.run_sync(self._learn, judged, laboratory, problem is None)
        return Judgement(
            receipt=claims[0].receipt if claims[0] is not None else None,
            verdict=verdict,
            judged=judged,
            problem=problem,
            proofs=proofs,
        )

    async def leave_undecided(self, judgement: Judgement) -> None:
        """Learn what can be learnt from a judgement that no other follows: the verifiers could not say who is right."""
        if self._reputation is not None and judgement.verdict.decision is Decision.UNDECIDED:
            await trio.to_thread.run_sync(self._reputation.settle_split, judgement.judged)

    def _learn(
        self, judged: Judged, laboratory: Laboratory | None, is_accepted: bool
    ) -> Mapping[PeerId, Path | None]:
        """Store the lessons of a judgement, and report it to the verifiers unless they will be asked again."""
        proofs: Mapping[PeerId, Path | None] = {}
        if self._reputation is not None:
            if is_accepted or judged.verdict.decision is Decision.REJECT:
                self._reputation.learn(judged)
            proofs = self._reputation.convict(judged, laboratory)
        if not judged.verdict.more and not judged.verdict.false:
            settle(self._reports, [claim for claim in judged.claims if claim is not None], judged.verdict)
        return proofs


def _problem(
    given: Sequence[Given], claims: Sequence[Claim | None], verdict: Verdict
) -> ReceiptRejectedError | ReceiptUndecidedError | None:
    if verdict.decision is Decision.REJECT:
        return ReceiptRejectedError(verdict.reasons)
    for item, claim in zip(given, claims, strict=True):
        if claim is None or not _tells_of(item.end.status, claim.receipt.result.outcome):
            return ReceiptRejectedError(("the node reports another outcome than its receipt states",))
    if verdict.decision is not Decision.ACCEPT:
        return ReceiptUndecidedError(verdict.reasons)
    return None


class _LateLaboratory:
    """A laboratory that is set up when a verifier first enters it: most never do."""

    def __init__(self, judge: Judge, job: Submission) -> None:
        self._judge = judge
        self._job = job

    @cached_property
    def _laboratory(self) -> NodeLaboratory:
        from plasm_core.reexecution import NodeLaboratory

        return NodeLaboratory(self._judge.node(), self._job.load, files=self._job.pack)

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """As `Laboratory.runtimes`."""
        return self._laboratory.runtimes(asked, among)

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        """As `Laboratory.run`."""
        return self._laboratory.run(asked, runtime=runtime, wall_time_s=wall_time_s)
