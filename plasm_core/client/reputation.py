"""A client's knowledge of nodes: their stored histories, the networks they answered from, and the lessons of new
verdicts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from plasm_core.client import kept_inputs
from plasm_core.client.fraud_proofs import prosecute
from plasm_core.client.judged import Judged
from plasm_core.client.reputation_store import AcceptedResult, Lesson, ReputationStore
from plasm_core.errors import StorageError
from plasm_core.randomness import RANDOM
from plasm_core.records import Claim, Decision, Observables, PeerId, Verdict, job_id
from plasm_core.records.claim import Laboratory
from plasm_core.records.credibility import GOOD_ERROR, answer_errors
from plasm_core.records.history import NodeHistory
from plasm_core.records.verdict import BINDINGS

log = logging.getLogger(__name__)

_FRESH_S = 30.0
"""How long a history is used without reading it again: another process may have learnt more."""
_MAX_CACHED = 4096


class Reputation:
    """Histories of nodes for one client. `store` None: it keeps no record, and everything is unknown. Thread-safe."""

    def __init__(
        self, store: ReputationStore | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self._clock = clock
        self._networks: dict[PeerId, str] = {}
        self._cached: dict[PeerId, tuple[float, NodeHistory]] = {}

    def history(self, peer: PeerId) -> NodeHistory:
        """Return a node's history, from the store and from the network it answered from. It takes less than a
        millisecond.
        """
        now = self._clock()
        at, found = self._cached.get(peer, (0.0, None))
        if found is None or now - at > _FRESH_S:
            found = self._read(peer)
            self._cached[peer] = now, found
            for old in list(self._cached)[:-_MAX_CACHED]:
                self._cached.pop(old, None)
        return found

    def _read(self, peer: PeerId) -> NodeHistory:
        network = self._networks.get(peer)
        found = NodeHistory(peer=peer, network=network)
        if self.store is None:
            return found
        try:
            found = self.store.find(peer)
            if network is not None and found.network != network:
                nodes, convicted = self.store.network(network)
                found = attrs.evolve(found, network=network, network_nodes=nodes, network_convicted=convicted)
        except StorageError as exc:
            log.warning("history not read node=%s reason=%s", peer, exc)
        return found

    def seen(self, peer: PeerId, network: str | None) -> None:
        """Note the network of the address at which a node has answered: a keyed hash."""
        if network is not None and self._networks.get(peer) != network:
            self._networks.pop(peer, None)
            self._networks[peer] = network
            self._cached.pop(peer, None)
            for old in list(self._networks)[:-_MAX_CACHED]:
                self._networks.pop(old, None)

    def network(self, peer: PeerId) -> str | None:
        """Return the network that a node was last seen in, None if that is not known."""
        return self._networks.get(peer) or self.history(peer).network

    def learn(self, judged: Judged) -> None:
        """Store the lessons of a judgement. It reads and writes files: call it in a thread. Never raises."""
        if self.store is None:
            return
        lessons = self._lessons(judged)
        results = self._results(judged, self.store.now())
        try:
            if lessons or results:
                self.store.learn(lessons, results)
            is_open = any(item.state == "unchecked" for item in results)
            if is_open and judged.keeps_inputs and judged.job is not None:
                kept_inputs.keep(judged.job)
        except (StorageError, OSError) as exc:
            log.warning("cannot record what was learnt of nodes reason=%s", exc)
        for lesson in lessons:
            self._cached.pop(lesson.peer, None)

    def weigh(self, claims: Sequence[Claim]) -> Observables | None:
        """Learn from nodes whose answers nothing else has decided. Return the likeliest, None if none is likely enough.

        If an answer's error is at most `GOOD_ERROR`, those that gave it confirm one another, and the others failed: a
        client without an engine could not learn from nodes that differ otherwise, and would ask the same ones again. It
        convicts no node. It reads and writes files: call it in a thread. Raises: `StorageError`.
        """
        answers: dict[Observables, list[NodeHistory]] = {}
        for claim in claims:
            answers.setdefault(Observables.of(claim.receipt), []).append(self.history(claim.receipt.node))
        errors = dict(zip(answers, answer_errors(list(answers.values())), strict=True))
        best = min(errors, key=lambda answer: errors[answer], default=None)
        if best is None or errors[best] > GOOD_ERROR:
            return None
        lessons = [
            Lesson(peer=history.peer, checked=int(answer == best), failed=int(answer != best))
            for answer, histories in answers.items()
            for history in histories
        ]
        self.note(lessons)
        return best

    def note(self, lessons: Sequence[Lesson]) -> None:
        """Note lessons. It writes a file: call it in a thread. Raises: `StorageError`."""
        if self.store is not None:
            self.store.learn(lessons)
        for lesson in lessons:
            self._cached.pop(lesson.peer, None)

    def settle_split(self, judged: Judged) -> None:
        """Learn from nodes that differ about a task, where the verifiers could not say which is right. Never raises."""
        claims = judged.own_claims
        if any(claim.why_unsettled for claim in claims):
            return
        if len({Observables.of(claim.receipt) for claim in claims}) < 2:
            return
        try:
            self.weigh(claims)
        except StorageError as exc:
            log.warning("cannot record what was learnt of nodes reason=%s", exc)

    def _lessons(self, judged: Judged) -> list[Lesson]:
        verdict, own = judged.verdict, {claim.receipt.node for claim in judged.own_claims}
        lessons = []
        for peer in dict.fromkeys(judged.nodes):
            network = self._networks.get(peer)
            if verdict.decision is Decision.ACCEPT and peer in own:
                confirmed = int(peer in verdict.checked)
                lessons.append(Lesson(peer=peer, accepted=1, checked=confirmed, network=network))
            elif verdict.decision is Decision.REJECT and (
                (peer in verdict.false and peer in own) or (len(judged.nodes) == 1 and _is_own_fault(verdict))
            ):
                lessons.append(Lesson(peer=peer, failed=1, network=network))
        return lessons

    def _results(self, judged: Judged, now: datetime) -> list[AcceptedResult]:
        verdict, job = judged.verdict, judged.job
        if verdict.decision is not Decision.ACCEPT or job is None:
            return []
        manifests = {job_id(manifest): manifest for manifest in (job.manifest_json, *judged.manifests)}
        due = None
        if verdict.check_within_s:
            due = now + timedelta(seconds=RANDOM.uniform(0, verdict.check_within_s))
        return [
            AcceptedResult(
                peer=claim.receipt.node,
                job_id=claim.receipt.asked.job_id,
                received_at=now,
                state="checked" if claim.receipt.node in verdict.checked else "unchecked",
                due_at=None if claim.receipt.node in verdict.checked else due,
                manifest_json=manifests[claim.receipt.asked.job_id],
                envelope_json=claim.envelope.to_json(),
            )
            for claim in judged.own_claims
            if claim.receipt.asked.job_id in manifests
        ]

    def convict(self, judged: Judged, laboratory: Laboratory | None) -> dict[PeerId, Path | None]:
        """Make a fraud proof if claims differ or a verifier found one false, and record the nodes that it convicts.

        The task is run again, which may take long: call it in a thread. Return the convicted nodes with the proof's
        file, None if it could not be kept. Never raises.
        """
        claims = [
            claim
            for claim in judged.own_claims
            if claim.receipt.result.reproducible and claim.receipt.result.outcome.recheckable
        ]
        differ = len({Observables.of(claim.receipt) for claim in claims}) > 1
        suspects = {claim.receipt.node for claim in claims} & set(judged.verdict.false)
        if not differ and not suspects:
            return {}
        if not differ:
            claims = [claim for claim in claims if claim.receipt.node in suspects]
        path, finding = prosecute([claim.envelope for claim in claims], judged.job, laboratory)
        if not finding.convictions:
            log.warning("no node convicted reasons=%s proof=%s", "; ".join(finding.reasons), path)
        for item in finding.convictions:
            log.warning(
                "node convicted node=%s proof=%s reasons=%s", item.node, path, "; ".join(item.reasons)
            )
            self._cached.clear()
            if self.store is None or path is None:
                continue
            try:
                self.store.convict(item.node, path, network=self._networks.get(item.node))
            except StorageError as exc:
                log.warning("conviction not noted node=%s reason=%s", item.node, exc)
        return {item.node: path for item in finding.convictions}


def _is_own_fault(verdict: Verdict) -> bool:
    """Return whether the node that gave an answer is to blame for its rejection, by what every receipt must be."""
    return any(
        opinion.decision is Decision.REJECT and opinion.verifier in (BINDINGS, "signature")
        for opinion in verdict.opinions
    )


@contextmanager
def open_reputation() -> Iterator[Reputation]:
    """Open this user's reputation store until the context ends.

    If it cannot be opened, the log gets the reason, and what the client learns is not kept.
    """
    try:
        store = ReputationStore()
    except StorageError as exc:
        log.warning("no record of nodes is kept reason=%s", exc)
        yield Reputation()
        return
    with store:
        yield Reputation(store)
