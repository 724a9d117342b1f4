"""A model of a client among liars, with the project's own verifiers and formulas: used by `verification.py`.

Nodes answer a job rightly or wrongly; which node gets it, what the verifiers make of its answer, and what the client
learns is decided by the code that clients use: `AuditVerifier`, `CredibleVerifier`, `QuorumVerifier`, and the formulas of
`plasm_core.records.credibility` with the constants of `plasm_core.client.node_choice`. Networks, signatures and disks
are left out.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence
from datetime import datetime, timezone

import attrs

from plasm_core.client import node_choice, node_draw
from plasm_core.client.auditor import MOST_ASKED
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    Asked,
    Claim,
    Decision,
    Observables,
    Opinion,
    PeerId,
    Receipt,
    credibility,
    sha256,
)
from plasm_core.records.credibility import LIARS, node_error
from plasm_core.records.history import NodeHistory
from plasm_core.testing import claims as signed

NODES = 100
NEW_NODES = 5
IN_FLIGHT = 8
_RUN_S = 0.2
_PROCESSORS = 4
_BUSY_S = 0.2
_QUIET_JOBS = 20
_RECORD_JOBS = 100
_AUDIT_WITHIN_JOBS = 100
"""In what time another node checks a result that was drawn."""
_MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)
KINDS = ("always", "rarely", "unaudited", "colluding", "copying", "record", "accomplice")
"""How liars lie. always: each time. rarely: one job in 100. unaudited: unless it was audited in its last 20 jobs, of
which an oracle tells it. colluding: half of the jobs, all liars of a network alike. copying: half of the jobs, all liars
of all networks alike. record: always, after 100 true answers. accomplice: always; it recognises an audit of another
liar's answer and confirms that answer."""

RIGHT = "right"


@attrs.define(eq=False)
class Node:
    """A node: `lies` says how, None for an honest one. `network`: the keyed hash of its prefix."""

    number: int
    peer: PeerId
    network: str
    latency_s: float
    lies: str | None = None
    is_new: bool = False
    jobs: int = 0
    wrong: int = 0
    since_audit: int = 10**9

    def answer(self, job: int, shared: random.Random, given: Sequence[str]) -> str:
        """Return its answer to a job: `RIGHT`, or a name of a wrong answer. `given`: what liars have answered to it."""
        self.jobs += 1
        self.since_audit += 1
        if self.lies is None:
            return RIGHT
        alone, together = f"wrong {self.number}", f"wrong {self.network}"
        if self.lies == "always":
            return alone
        if self.lies == "rarely":
            return alone if shared.random() < 0.01 else RIGHT
        if self.lies == "unaudited":
            return alone if self.since_audit > _QUIET_JOBS else RIGHT
        if self.lies == "record":
            return alone if self.jobs > _RECORD_JOBS else RIGHT
        if self.lies == "colluding":
            return together if random.Random(f"{job} {self.network}").random() < 0.5 else RIGHT
        if self.lies == "copying":
            return "wrong everywhere" if random.Random(f"{job}").random() < 0.5 else RIGHT
        return given[0] if given else alone


@attrs.frozen
class Engine:
    """A laboratory that runs the task: it observes the right answer. `ran` counts."""

    truth: Observables
    ran: list[int]

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        return tuple(among[:1])

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        self.ran[0] += 1
        return self.truth


@attrs.define
class Tally:
    """What came of a span of jobs. `remaining`: wrong results whose node was not convicted later."""

    jobs: int = 0
    executions: int = 0
    wrong: int = 0
    failed: int = 0
    latency_s: float = 0.0
    believed: list[PeerId] = attrs.field(factory=list)


class Client:
    """A client with one strategy. `here`: it can run tasks itself."""

    def __init__(
        self, verifiers: Sequence[Verifier], nodes: list[Node], rng: random.Random, *, here: bool
    ) -> None:
        self._verifiers = verifiers
        self.nodes = {node.peer: node for node in nodes}
        self._rng = rng
        self._here = here
        self._latest: collections.deque[PeerId] = collections.deque(maxlen=IN_FLIGHT)
        self._due: list[tuple[int, Node, str]] = []
        self.histories = {node.peer: NodeHistory(peer=node.peer, network=node.network) for node in nodes}
        self._receipts: dict[tuple[PeerId, str], tuple[Receipt, Observables]] = {}
        self._of_network = collections.Counter(node.network for node in nodes)
        self._convicted_of = collections.Counter[str]()
        self._ranks: dict[PeerId, tuple[bool, float, int, Node]] = {}
        self._fresh: set[PeerId] = set()
        self._known = False
        for node in nodes:
            self._rank(node.peer)

    def join(self, nodes: list[Node]) -> None:
        """Let nodes join."""
        for node in nodes:
            self.nodes[node.peer] = node
            self.histories[node.peer] = NodeHistory(peer=node.peer, network=node.network)
            self._of_network[node.network] += 1
            self._rank(node.peer)

    def history(self, peer: PeerId) -> NodeHistory:
        """Return what the store would tell of a node."""
        history = self.histories[peer]
        known = self._of_network[history.network or ""]
        convicted = self._convicted_of[history.network or ""]
        if (history.network_nodes, history.network_convicted) != (known, convicted):
            history = attrs.evolve(history, network_nodes=known, network_convicted=convicted)
            self.histories[peer] = history
        return history

    def _learn(self, peer: PeerId, *, accepted: int = 0, checked: int = 0, failed: int = 0) -> None:
        old = self.histories[peer]
        self.histories[peer] = attrs.evolve(
            old,
            accepted=old.accepted + accepted,
            checked=old.checked + checked,
            failed=old.failed + failed,
            trust=0.0 if failed else old.trust + checked,
        )
        if checked or failed:
            self.nodes[peer].since_audit = 0
            self._rank(peer)

    def _convict(self, peer: PeerId) -> None:
        if not self.histories[peer].is_convicted:
            self.histories[peer] = attrs.evolve(
                self.histories[peer], convicted_at=_MOMENT, trust=0.0, failed=1
            )
            self._convicted_of[self.histories[peer].network or ""] += 1
            for other in self.nodes.values():
                if other.network == self.histories[peer].network:
                    self._rank(other.peer)

    def _choose(self, avoid: set[PeerId], networks: set[str], *, at_random: bool = False) -> Node | None:
        """Return a node, as `RemoteDialler` ranks them: latency, the doubt, and the client's own jobs in flight."""
        if at_random:
            return self._draw(avoid, networks)
        running = collections.Counter(self.nodes[peer].number for peer in self._latest)
        best: tuple[bool, float, int, Node] | None = None
        for peer, (failed, cost, number, node) in self._ranks.items():
            if (avoid and peer in avoid) or node.network in networks:
                continue
            if number in running:
                most = min(_PROCESSORS, self.histories[peer].accepted + 1)
                cost += _BUSY_S * max(0, running[number] - most + 1)
            if best is None or (failed, cost, number) < best[:3]:
                best = failed, cost, number, node
        if best is None:
            return None
        if not avoid and self._known and self._rng.random() < node_draw.FRESH_SHARE:
            fresh = [
                node
                for peer, (_, _, _, node) in self._ranks.items()
                if peer in self._fresh and not self._convicted_of[node.network]
            ]
            if fresh:
                return self._rng.choice(fresh)
        return best[3]

    def _draw(self, avoid: set[PeerId], networks: set[str]) -> Node | None:
        """Return a node of a network that is drawn, as `RemoteDialler` draws one that nothing speaks against."""
        usable = [
            item
            for peer, item in self._ranks.items()
            if peer not in avoid and item[-1].network not in networks
        ]
        good = [item for item in usable if not item[0] and not self._convicted_of[item[-1].network]]
        groups: dict[str, list[Node]] = {}
        for *_, node in good or usable:
            groups.setdefault(node.network, []).append(node)
        return self._rng.choice(self._rng.choice(list(groups.values()))) if groups else None

    def _rank(self, peer: PeerId) -> None:
        """Note what a node ranks by, after something was learnt of it."""
        history, node = self.history(peer), self.nodes[peer]
        self._fresh.discard(peer)
        if history.is_convicted:
            self._ranks.pop(peer, None)
            return
        if history.is_new:
            self._fresh.add(peer)
        self._known = self._known or history.trust >= 1
        doubt = min(node_choice._MOST_DOUBT, node_error(history) / LIARS)
        cost = node.latency_s + node_choice._DOUBT_S * doubt
        self._ranks[peer] = history.is_outvoted, cost, node.number, node

    def _claim(self, node: Node, answer: str, engine: Engine | None) -> Claim:
        key = node.peer, answer
        if key not in self._receipts:
            receipt = signed.receipt(node=node.peer, stdout=answer.encode())
            self._receipts[key] = receipt, Observables.of(receipt)
        receipt = self._receipts[key][0]
        evidence = self._rng.randbytes(16)
        envelope = attrs.evolve(_ENVELOPE, payload=evidence)
        history = self.history(node.peer)
        return Claim(envelope=envelope, receipt=receipt, laboratory=engine, history=history)

    def run(self, job: int, tally: Tally) -> None:
        """Run a job as `AsyncClient.run` does, and count."""
        candidates = sorted(
            (self.history(peer) for peer in self._latest), key=lambda history: node_error(history)
        )
        plans = [verifier.plan_among(_MANIFEST, candidates) for verifier in self._verifiers]
        wanted = max((plan.executions for plan in plans), default=1)
        apart = max((plan.networks for plan in plans), default=1) > 1
        at_random = any(plan.at_random for plan in plans)
        ran = [0]
        engine = Engine(_TRUTH, ran) if self._here else None
        done: dict[PeerId, tuple[Claim, str]] = {}
        dropped: set[PeerId] = set()
        said: list[str] = []
        tally.jobs += 1
        accepted: str | None = None
        while len(dropped) <= 16:
            while len(done) < wanted:
                networks = {self.nodes[peer].network for peer in done} if apart else set()
                node = self._choose({*done, *dropped}, networks, at_random=at_random and bool(done))
                if node is None:
                    break
                self._latest.append(node.peer)
                answer = node.answer(job, self._rng, said)
                if answer != RIGHT:
                    said.append(answer)
                done[node.peer] = self._claim(node, answer, engine), answer
                tally.executions += 1
                tally.latency_s += node.latency_s + _RUN_S
            if not done or len(done) < wanted:
                break
            before = ran[0]
            opinions = self._ask([claim for claim, _ in done.values()])
            tally.latency_s += _RUN_S * (ran[0] - before)
            rejections = [item for item in opinions if item.decision is Decision.REJECT]
            false = {peer for item in rejections for peer in item.false}
            if len({answer for _, answer in done.values()}) > 1 and engine is not None:
                ran[0] += 1  # the client runs the task once more to see whom the fraud proof convicts
                false |= {peer for peer, (_, answer) in done.items() if answer != RIGHT}
            if false:
                for peer in false:
                    if engine is not None:
                        self._convict(peer)
                    else:
                        self._learn(peer, failed=1)
                    del done[peer]
                    dropped.add(peer)
                continue
            if rejections:
                break
            more = [item.more for item in opinions if item.decision is Decision.UNDECIDED]
            if more:
                if not all(more):
                    break
                wanted = len(done) + max(more)
                continue
            first = next(iter(done))
            accepted = done[first][1]
            checked = {peer for item in opinions for peer in item.checked}
            for peer in done:
                self._learn(peer, accepted=1, checked=int(peer in checked))
            if any(item.check_within_s for item in opinions):
                self._due.append(
                    (job + self._rng.randrange(1, _AUDIT_WITHIN_JOBS), self.nodes[first], accepted)
                )
            if accepted != RIGHT:
                tally.wrong += 1
                tally.believed.append(first)
                self.nodes[first].wrong += 1
            break
        if accepted is None and len({answer for _, answer in done.values()}) > 1:
            self._settle(list(done.values()))
        tally.failed += accepted is None
        tally.executions += ran[0]
        self._audit(job, tally)

    def _ask(self, shown: list[Claim]) -> list[Opinion]:
        return [verifier.judge(shown) for verifier in self._verifiers]

    def _settle(self, given: Sequence[tuple[Claim, str]]) -> str | None:
        """Learn from nodes that differ, where one answer is likely enough. Return that answer."""
        answers: dict[str, list[NodeHistory]] = {}
        for claim, answer in given:
            answers.setdefault(answer, []).append(self.history(claim.receipt.node))
        errors = dict(zip(answers, credibility.answer_errors(list(answers.values())), strict=True))
        best = min(errors, key=lambda answer: errors[answer])
        if errors[best] > credibility.GOOD_ERROR:
            return None
        for answer, histories in answers.items():
            for history in histories:
                self._learn(history.peer, checked=int(answer == best), failed=int(answer != best))
        return best

    def _audit(self, job: int, tally: Tally) -> None:
        """Have other nodes check what is due. Where they differ, others are asked until one answer is likely enough."""
        due = [item for item in self._due if item[0] <= job]
        self._due = [item for item in self._due if item[0] > job]
        for _, node, answer in due:
            if self.histories[node.peer].is_convicted:
                continue
            given = [(self._claim(node, answer, None), answer)]
            asked, networks = {node.peer}, {node.network}
            while len(given) < MOST_ASKED:
                other = self._choose(asked, networks, at_random=True)
                if other is None:
                    break
                said = [wrong for _, wrong in given if wrong != RIGHT]
                told = other.answer(-job, self._rng, said)
                given.append((self._claim(other, told, None), told))
                asked.add(other.peer)
                networks.add(other.network)
                tally.executions += 1
                if self._settle(given) is not None or (len(given) == 2 and told == answer):
                    break


_MANIFEST = signed.manifest()
_ENVELOPE = signed.claim().envelope
_TRUTH = Observables.of(signed.receipt(stdout=RIGHT.encode()))


def population(share: float, kind: str, rng: random.Random) -> list[Node]:
    """Return nodes of which a share lies. Ten nodes are of one network; colluding liars share networks."""
    liars = round(NODES * share)
    nodes = []
    for number in range(NODES):
        is_liar = number < liars
        packed = kind == "colluding" and is_liar
        network = f"liars {number // 5}" if packed else f"network {rng.randrange(NODES)}"
        nodes.append(
            Node(
                number=number,
                peer=PeerId(sha256(f"{number}".encode()).encode()[:32]),
                network=network,
                latency_s=rng.uniform(0.02, 0.3),
                lies=kind if is_liar else None,
            )
        )
    rng.shuffle(nodes)
    return nodes


def newcomers(rng: random.Random) -> list[Node]:
    """Return honest nodes that join later."""
    return [
        Node(
            number=NODES + number,
            peer=PeerId(sha256(f"new {number}".encode()).encode()[:32]),
            network=f"new network {number}",
            latency_s=rng.uniform(0.02, 0.3),
            is_new=True,
        )
        for number in range(NEW_NODES)
    ]
