"""How often a client of strangers believes a wrong result, by strategy and kind of liar: `python benchmarks/verification.py`.

It writes `benchmarks/results/verification.txt` and `verification.svg`. The seed is published with the figures: the same
seed gives the same figures. Each row is the mean of eight clients, each of which begins without knowing any of 100 nodes
and has 2,000 jobs run; the figures are those of the jobs after the first 1,000. Five honest nodes join half-way.

It takes about a quarter of an hour on two processors. With `--resume FILE`, a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.verification_model import KINDS, NODES, Client, Node, Tally, newcomers, population
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import credibility
from plasm_core.version import __version__
from plasm_verifier_audit import AuditVerifier
from plasm_verifier_credible import CredibleVerifier
from plasm_verifier_quorum import QuorumVerifier
from plasm_verifier_reexecute import ReexecuteVerifier

SEED = 22
SHARES = (0.05, 0.1, 0.2, 0.4)
CLIENTS, JOBS, FIRST = 8, 2_000, 1_000
RESULTS = Path(__file__).parent / "results"
MOST_WRONG, MOST_EXECUTIONS = 1e-3, 1.2

STRATEGIES: dict[str, tuple[tuple[Verifier, ...], bool]] = {
    "signature": ((), True),
    "reexecute": ((ReexecuteVerifier(),), True),
    "quorum": ((QuorumVerifier(),), False),
    "audit": ((AuditVerifier(),), True),
    "credible": ((CredibleVerifier(),), True),
    "audit-remote": ((AuditVerifier(gas_here=0),), False),
    "credible-remote": ((CredibleVerifier(gas_here=0),), False),
}
"""Verifiers beside `signature`, and whether the client's machine can run the tasks itself."""


@attrs.frozen(kw_only=True)
class Row:
    """The figures of one client, or the means of several, after the first jobs. `most_wrong`: of the worst client.

    `curve`: wrong results so far, after every 100 jobs.
    """

    strategy: str
    kind: str
    share: float
    wrong: float
    most_wrong: float
    remaining: float
    executions: float
    latency_s: float
    failed: float
    first_wrong: float
    first_executions: float
    caught: float
    avoided: float
    new_share: float
    curve: tuple[float, ...]


def measure(strategy: str, kind: str, share: float, seed: int, jobs: int, client_number: int) -> Row:
    """Run one client's jobs. The nodes are the same for all strategies."""
    name = f"{seed} {kind} {share} {client_number}"
    credibility._SECRET = hashlib.sha256(name.encode()).digest()  # so that the same seed gives the same draws
    rng = random.Random(name)
    nodes = population(share, kind, rng)
    verifiers, here = STRATEGIES[strategy]
    client = Client(verifiers, nodes, rng, here=here)
    first, rest, curve = Tally(), Tally(), []
    joining: list[Node] = []
    for job in range(jobs):
        if job == jobs // 2:
            joining = newcomers(rng)
            client.join(joining)
        client.run(job, first if job < FIRST else rest)
        if (job + 1) % 100 == 0:
            curve.append(first.wrong + rest.wrong)
    liars = [node for node in nodes if node.lies]
    lied = [node for node in liars if client.histories[node.peer].failed or node.wrong]
    honest = [node for node in nodes if not node.lies] + joining
    fair = (jobs - jobs // 2) * len(joining) / (NODES + len(joining))
    return Row(
        strategy=strategy,
        kind=kind,
        share=share,
        wrong=rest.wrong / rest.jobs,
        most_wrong=rest.wrong / rest.jobs,
        remaining=sum(not client.histories[peer].is_convicted for peer in rest.believed) / rest.jobs,
        executions=rest.executions / rest.jobs,
        latency_s=rest.latency_s / rest.jobs,
        failed=rest.failed / rest.jobs,
        first_wrong=first.wrong / first.jobs,
        first_executions=first.executions / first.jobs,
        caught=sum(client.histories[node.peer].failed > 0 for node in lied) / max(1, len(lied)),
        avoided=sum(client.histories[node.peer].failed > 0 for node in honest),
        new_share=sum(node.jobs for node in joining) / fair,
        curve=tuple(curve),
    )


def mean(rows: list[Row]) -> Row:
    """Return the means of several clients' figures."""
    found: dict[str, Any] = {
        field.name: statistics.fmean(getattr(row, field.name) for row in rows)
        for field in attrs.fields(Row)
        if field.name not in ("strategy", "kind", "share", "curve", "most_wrong")
    }
    curve = tuple(statistics.fmean(values) for values in zip(*(row.curve for row in rows), strict=True))
    most = max(row.wrong for row in rows)
    return attrs.evolve(rows[0], **found, curve=curve, most_wrong=most)


def measure_mean(strategy: str, kind: str, share: float, seed: int, jobs: int, clients: int) -> Row:
    """Return the means of several clients' figures, who begin at different nodes."""
    return mean([measure(strategy, kind, share, seed, jobs, number) for number in range(clients)])


def measure_all(work: list[tuple[Any, ...]], processes: int, kept: Path | None) -> list[Row]:
    """Return a row for each of `work`. `kept`: a file of the rows that are measured so far, to go on with."""
    rows: dict[tuple[Any, ...], Row] = {}
    if kept is not None and kept.exists():
        for line in kept.read_text().splitlines():
            case, row = json.loads(line)
            rows[tuple(case)] = Row(**{**row, "curve": tuple(row["curve"])})
    left = [case for case in work if case not in rows]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for case, row in zip(left, pool.imap(_measure_case, left), strict=True):
            rows[case] = row
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps([case, attrs.asdict(row)]) + "\n")
    return [rows[case] for case in work]


def _measure_case(case: tuple[Any, ...]) -> Row:
    return measure_mean(*case)


COLUMNS = (
    ("strategy", 16, lambda row: row.strategy),
    ("liars", 12, lambda row: row.kind),
    ("share", 7, lambda row: f"{row.share:.0%}"),
    ("wrong", 10, lambda row: f"{row.wrong:.5f}"),
    ("worst", 10, lambda row: f"{row.most_wrong:.5f}"),
    ("remaining", 11, lambda row: f"{row.remaining:.5f}"),
    ("executions", 12, lambda row: f"{row.executions:.3f}"),
    ("latency s", 11, lambda row: f"{row.latency_s:.2f}"),
    ("failed", 9, lambda row: f"{row.failed:.4f}"),
    ("wrong<1000", 12, lambda row: f"{row.first_wrong:.4f}"),
    ("exec<1000", 11, lambda row: f"{row.first_executions:.2f}"),
    ("caught", 8, lambda row: f"{row.caught:.0%}"),
    ("avoided", 9, lambda row: f"{row.avoided:.1f}"),
    ("new", 7, lambda row: f"{row.new_share:.2f}"),
)


def table(rows: list[Row]) -> str:
    """Return the figures as text."""
    head = "".join(f"{title:>{width}}" for title, width, _ in COLUMNS)
    lines = ["".join(f"{show(row):>{width}}" for _, width, show in COLUMNS) for row in rows]
    return "\n".join([head, *lines]) + "\n"


def judgement(rows: list[Row]) -> str:
    """Say for each kind at 20 % whether a strategy keeps within the bounds, and by how much it does not."""
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        for row in rows:
            if row.strategy == strategy and row.share == 0.2:
                over = [
                    f"{what} {value / most:.1f} times the bound"
                    for what, value, most in (
                        ("wrong results are", row.wrong, MOST_WRONG),
                        ("executions are", row.executions, MOST_EXECUTIONS),
                    )
                    if value > most
                ]
                lines.append(f"{strategy:>16}{row.kind:>12}   {'; '.join(over) or 'within both bounds'}")
    return "\n".join(lines) + "\n"


_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf")
_WIDTH, _HEIGHT, _LEFT, _TOP = 420, 220, 60, 40


def plot(rows: list[Row]) -> str:
    """Return one panel a strategy: wrong results accepted so far at 20 % liars, by jobs, a line for each kind."""
    names = list(dict.fromkeys(row.strategy for row in rows))
    parts = []
    for index, strategy in enumerate(names):
        chosen = [row for row in rows if row.strategy == strategy and row.share == 0.2]
        x, y = _LEFT + (index % 2) * (_WIDTH + 80), _TOP + (index // 2) * (_HEIGHT + 70)
        most = max(10, round(max(row.curve[-1] for row in chosen)))
        parts.append(f'<text x="{x}" y="{y - 8}" font-weight="bold">{strategy}</text>')
        parts.append(f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#888"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 10}" text-anchor="end">{most}</text>')
        parts.append(f'<text x="{x - 6}" y="{y + _HEIGHT}" text-anchor="end">0</text>')
        jobs = 100 * len(chosen[0].curve)
        parts.append(f'<text x="{x + _WIDTH}" y="{y + _HEIGHT + 16}" text-anchor="end">{jobs} jobs</text>')
        for row in chosen:
            colour = _COLOURS[KINDS.index(row.kind)]
            points = " ".join(
                f"{x + _WIDTH * (step + 1) / len(row.curve):.1f},{y + _HEIGHT * (1 - value / most):.1f}"
                for step, value in enumerate(row.curve)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    height = _TOP + (len(names) + 1) // 2 * (_HEIGHT + 70) + 20
    for index, kind in enumerate(KINDS):
        x = _LEFT + 130 * index
        parts.append(f'<rect x="{x}" y="{height - 22}" width="12" height="12" fill="{_COLOURS[index]}"/>')
        parts.append(f'<text x="{x + 18}" y="{height - 12}">{kind}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH + 160}" height="{height}" '
        'font-family="sans-serif" font-size="12">\n'
        "<title>Wrong results accepted so far, at 20 % liars</title>\n"
        f'<rect width="100%" height="100%" fill="white"/>\n{chr(10).join(parts)}\n</svg>\n'
    )


HEAD = """python benchmarks/verification.py {arguments}
Seed {seed}, Plasm {version}, {clients} clients a row, {jobs} jobs each, {took}.
A model, with the verifiers and formulas of the clients (benchmarks/verification_model.py): 100 nodes, of which a share
lies in one way. Figures are means, of the jobs after the first 1,000. wrong: share of jobs with a wrong result accepted;
worst: of the worst client; remaining: those whose node was not convicted by the end, so that `plasm jobs --doubtful` does not list them; executions:
a job, with runs on the client's machine and audits; failed: jobs without a result; caught: of the liars that lied to this
client, those rejected at least once; avoided: honest nodes ever rejected, of 80 or more; new: jobs of five honest nodes
that joined half-way, as a multiple of an equal share. The -remote strategies run nothing on the client's machine.

"""


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=JOBS, help="more than 1,000, of each client")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--strategies", nargs="+", choices=tuple(STRATEGIES), default=tuple(STRATEGIES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--resume", type=Path, help="a file to keep the rows in, and to go on with")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a directory")
    options = parser.parse_args()
    began = time.monotonic()
    cases = itertools.product(options.strategies, options.kinds, options.shares)
    work = [(*case, options.seed, options.jobs, options.clients) for case in cases]
    rows = measure_all(work, options.processes, options.resume)
    own = ("--output", str(options.output), "--resume", str(options.resume))
    head = HEAD.format(
        arguments=" ".join(item for item in sys.argv[1:] if item not in own),
        seed=options.seed,
        version=__version__,
        clients=options.clients,
        jobs=options.jobs,
        took=f"{time.monotonic() - began:.0f} s on a shared machine"
        if options.resume is None
        else "in parts",
    )
    bounds = f"\nAt 20 % liars, of {MOST_WRONG} wrong results and {MOST_EXECUTIONS} executions a job:\n\n"
    (options.output / "verification.txt").write_text(head + table(rows) + bounds + judgement(rows))
    if 0.2 in options.shares:
        (options.output / "verification.svg").write_text(plot(rows))


if __name__ == "__main__":
    main()
