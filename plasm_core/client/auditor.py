"""Audits of accepted results by other nodes: ordinary jobs under a fresh key, at the random times that were drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import attrs
import trio

from plasm_core.background_tasks import sole
from plasm_core.client import kept_inputs
from plasm_core.client.judged import Judged
from plasm_core.client.reputation import Reputation
from plasm_core.client.reputation_store import AcceptedResult, Lesson, ReputationStore
from plasm_core.client.result import JobResult
from plasm_core.client.result_verification import Judge
from plasm_core.client.submission import Submission
from plasm_core.errors import PlasmError, RefusedError, StorageError
from plasm_core.records import Claim, Decision, Envelope, Observables, Opinion, PeerId, Receipt, Verdict
from plasm_core.records.second_run import ENGINES, run_again

log = logging.getLogger(__name__)

_LOOK_S = 30.0
_AGAIN_S = 6 * 3600
"""When an audit that came to no end, as of a process that was killed, is due again."""
_TIMEOUT_S = 3600.0
_AT_ONCE = 4
"""How many results are checked at once: each check takes a client with a key of its own."""
MOST_ASKED = 7
"""How many nodes one audit has the job run by, with the audited one, where they differ."""


class OtherClient(Protocol):
    """The part of an `AsyncClient` that an audit uses."""

    async def run(
        self, submission: Submission, *, timeout_s: float | None, avoid: Collection[PeerId | str]
    ) -> JobResult:
        """Submit a job and wait for its verified result. Raises: `PlasmError`."""


@attrs.frozen(kw_only=True)
class Audited:
    """The finding of the check of an accepted result. `is_right` is None if the check failed for the `reason`."""

    result: AcceptedResult
    is_right: bool | None
    reason: str


class Auditor:
    """Checks accepted results. `another` opens a client under a fresh key; `judge` has this machine's engines."""

    def __init__(
        self,
        reputation: Reputation,
        another: Callable[[], AbstractAsyncContextManager[OtherClient]],
        judge: Judge,
    ) -> None:
        self._reputation = reputation
        self._another = another
        self._judge = judge

    async def run(self) -> None:
        """Have results checked whenever they are due. Does not return."""
        store = self._reputation.store
        while store is not None:
            wait_s = _LOOK_S
            try:
                due_s = await trio.to_thread.run_sync(store.next_due)
                wait_s = _LOOK_S if due_s is None else min(due_s, _LOOK_S)
                if due_s == 0:
                    await self.audit_due()
            except StorageError as exc:
                log.warning("no audits reason=%s", exc)
            await trio.sleep(max(0.1, wait_s))
        await trio.sleep_forever()

    async def audit_due(self) -> list[Audited]:
        """Check all results whose audit is due, several at once: a node that hangs delays only its own check.

        Raises: `StorageError`.
        """
        store, found = self._reputation.store, list[Audited]()
        places = trio.CapacityLimiter(_AT_ONCE)

        async def check(store: ReputationStore, result: AcceptedResult) -> None:
            async with places:
                again_at = store.now() + timedelta(seconds=_AGAIN_S)
                if await trio.to_thread.run_sync(lambda: store.claim_audit(result, again_at=again_at)):
                    found.append(await self.audit(result))

        while store is not None and (due := await trio.to_thread.run_sync(store.due)):
            with sole():
                async with trio.open_nursery() as nursery:
                    for result in due:
                        nursery.start_soon(check, store, result)
        return found

    async def audit(self, result: AcceptedResult) -> Audited:
        """Have another node run the job of an accepted result, and compare."""
        try:
            job = await trio.to_thread.run_sync(kept_inputs.load, result.manifest_json)
            claims = [_claim(result.envelope_json)]
            claims.append(await self._another_claim(job, claims))
            if _differ(claims):
                convicted = await self._convict(job, claims)
                if convicted:
                    reason = f"a fraud proof names {', '.join(map(str, convicted))}"
                    return await self._settle(result, is_right=result.peer not in convicted, reason=reason)
                return await self._poll(result, job, claims)
        except (PlasmError, OSError) as exc:
            log.info("audit not finished node=%s job=%s reason=%s", result.peer, result.job_id, exc)
            return Audited(result=result, is_right=None, reason=str(exc))
        await trio.to_thread.run_sync(self._reputation.weigh, claims)
        return await self._settle(result, is_right=True, reason="2 nodes agree")

    async def _another_claim(self, job: Submission, claims: list[Claim]) -> Claim:
        """Return what another node says, in another network than those that have said something.

        It is asked by a client with a key of its own for a job with an id of its own: nodes that share what they are
        asked see neither twice.
        """
        avoid: set[PeerId | str] = {claim.receipt.node for claim in claims}
        avoid.update(
            network
            for claim in claims
            if (network := self._reputation.network(claim.receipt.node)) is not None
        )
        async with self._another() as client:
            found = await client.run(job.another(), timeout_s=_TIMEOUT_S, avoid=avoid)
        return _claim(found.envelope.to_json())

    async def _convict(self, job: Submission, claims: list[Claim]) -> Collection[PeerId]:
        judged = _judged(claims, job)
        laboratory = self._judge.laboratory(job)
        return await trio.to_thread.run_sync(self._reputation.convict, judged, laboratory)

    async def _poll(self, result: AcceptedResult, job: Submission, claims: list[Claim]) -> Audited:
        """Have more nodes run a job on which two differ, until one answer is likely enough, and store the finding.

        Raises: as `run`, if there are too few nodes.
        """
        while len(claims) < MOST_ASKED:
            claims.append(await self._another_claim(job, claims))
            right = await trio.to_thread.run_sync(self._reputation.weigh, claims)
            if right is not None:
                answers = [Observables.of(claim.receipt) for claim in claims]
                is_right = answers[0] == right
                reason = f"{answers.count(right)} nodes agree" + (
                    " on something else" if not is_right else ""
                )
                return await self._settle(result, is_right=is_right, reason=reason)
        return Audited(result=result, is_right=None, reason=f"{len(claims)} nodes differ")

    async def _settle(self, result: AcceptedResult, *, is_right: bool, reason: str) -> Audited:
        store = self._reputation.store
        assert store is not None
        await trio.to_thread.run_sync(lambda: store.settle(result.peer, result.job_id, is_right=is_right))
        level = logging.INFO if is_right else logging.WARNING
        log.log(
            level, "audited node=%s job=%s right=%s reason=%s", result.peer, result.job_id, is_right, reason
        )
        return Audited(result=result, is_right=is_right, reason=reason)


def check_here(result: AcceptedResult, reputation: Reputation, judge: Judge) -> Audited:
    """Run the job of an accepted result on this machine, compare the results, and store the finding. It takes as long
    as the job.
    """
    store = reputation.store
    assert store is not None
    try:
        job = kept_inputs.load(result.manifest_json)
        claim = _claim(result.envelope_json)
        laboratory = judge.laboratory(job)
        runtime, found = run_again(
            laboratory,
            claim.receipt.asked,
            runtimes=ENGINES,
            used={claim.receipt.claims.runtime.name},
            wall_time_s=job.manifest.wall_time_s,
        )
        is_right = found == Observables.of(claim.receipt)
        if is_right:
            store.learn([Lesson(peer=result.peer, checked=1)])
        else:
            reputation.convict(_judged([claim], job, false=(result.peer,)), laboratory)
        store.settle(result.peer, result.job_id, is_right=is_right)
    except (PlasmError, OSError) as exc:
        return Audited(result=result, is_right=None, reason=str(exc))
    differs = "; ".join(found.differences(Observables.of(claim.receipt)))
    return Audited(
        result=result, is_right=is_right, reason=f"re-executed on {runtime}" + (differs and f": {differs}")
    )


def _claim(envelope_json: bytes) -> Claim:
    """Parse a node's receipt. Raises: `InvalidRecordError`; `RefusedError` if it cannot be re-checked."""
    envelope = Envelope.from_json(envelope_json)
    claim = Claim(envelope=envelope, receipt=Receipt.from_statement(envelope.payload))
    if claim.why_unsettled:
        raise RefusedError("not_recheckable", claim.why_unsettled)
    return claim


def _judged(claims: list[Claim], job: Submission, *, false: tuple[PeerId, ...] = ()) -> Judged:
    opinion = Opinion(verifier="audit", decision=Decision.REJECT, false=false)
    verdict = Verdict(opinions=(opinion,) if false else ())
    return Judged(nodes=[claim.receipt.node for claim in claims], claims=claims, verdict=verdict, job=job)


def _differ(claims: list[Claim]) -> bool:
    return len({Observables.of(claim.receipt) for claim in claims}) > 1
