"""What a process for every job costs: `python benchmarks/isolated_job.py`.

A small job (examples/hello) is run by `Executor.run` on a warm node, and the same program, built natively, by
`subprocess.run`, by turns in one run: only their ratios mean something on another machine.

idle        latency with 5 ms between jobs: workers are forked ahead, so that none waits for a fork
latency     back to back, one at a time: as fast as the machine forks and ends workers, on two cores at least
throughput  two at a time
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.interfaces import Runtime  # noqa: E402
from plasm_core.records import JobInput, Limits, manifest_for  # noqa: E402
from tests.support import processes  # noqa: E402
from tests.support.lab import Lab, open_lab  # noqa: E402

HELLO = ROOT / "examples" / "hello"
_WORD, _ANSWER = "abc", b"cba\n"
_IDLE_S = 0.005
_THREADS = 2
_WARM = 60

Call = Callable[[], object]


@attrs.frozen(kw_only=True)
class Round:
    """One way's figures of one round: times in milliseconds, processor time and page faults a job."""

    latency_p50_ms: float
    latency_p95_ms: float
    idle_p50_ms: float
    idle_p95_ms: float
    jobs_per_s: float
    parent_cpu_ms: float
    zygote_cpu_ms: float
    workers_cpu_ms: float
    worker_faults: float


def _latency(call: Call, count: int, *, idle_s: float = 0.0) -> tuple[float, float]:
    """Return the median and the 95th percentile in milliseconds."""
    times = []
    for _ in range(count):
        if idle_s:
            time.sleep(idle_s)
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    times.sort()
    return statistics.median(times) * 1e3, times[int(len(times) * 0.95)] * 1e3


def _throughput(call: Call, count: int) -> float:
    """Return jobs a second with two in flight."""

    def work() -> None:
        for _ in range(count // _THREADS):
            call()

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - started)


@attrs.frozen
class _Usage:
    """Processor time in seconds of this process, its reaped children and those that live, and page faults."""

    parent: float
    reaped: float
    living: dict[int, tuple[float, int, bool]]
    faults: int

    @classmethod
    def now(cls) -> _Usage:
        own = resource.getrusage(resource.RUSAGE_SELF)
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        living = {}
        for child in processes.children(os.getpid()):
            try:
                cpu = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0]) / 1e9
                fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            living[child.pid] = (cpu, int(fields[7]), child.group == child.pid)
        return cls(own.ru_utime + own.ru_stime, reaped.ru_utime + reaped.ru_stime, living, reaped.ru_minflt)


def _costs(before: _Usage, after: _Usage, jobs: int) -> dict[str, float]:
    """Return what a job took, in milliseconds of processor time, and page faults of workers."""
    zygotes = workers = 0.0
    faults = after.faults - before.faults
    for pid, (cpu, fault, is_zygote) in after.living.items():
        earlier = before.living.get(pid, (0.0, 0, is_zygote))
        if is_zygote:
            zygotes += cpu - earlier[0]
        else:
            workers += cpu - earlier[0]
            faults += fault - earlier[1]
    return {
        "parent_cpu_ms": (after.parent - before.parent) / jobs * 1e3,
        "zygote_cpu_ms": zygotes / jobs * 1e3,
        "workers_cpu_ms": (workers + after.reaped - before.reaped) / jobs * 1e3,
        "worker_faults": faults / jobs,
    }


def measure(call: Call, jobs: int) -> Round:
    """Measure one way, once."""
    for _ in range(_WARM // 4):
        call()
    before = _Usage.now()
    latency = _latency(call, jobs)
    costs = _costs(before, _Usage.now(), jobs)
    idle = _latency(call, jobs // 2, idle_s=_IDLE_S)
    return Round(
        latency_p50_ms=latency[0],
        latency_p95_ms=latency[1],
        idle_p50_ms=idle[0],
        idle_p95_ms=idle[1],
        jobs_per_s=_throughput(call, 2 * jobs),
        **costs,
    )


def _native(directory: Path) -> Call | None:
    """Return what runs the program natively, or None if it cannot be built."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    program = directory / "hello"
    subprocess.run([compiler, "-O2", "-o", program, HELLO / "hello.c"], check=True)

    def call() -> None:
        done = subprocess.run([program, _WORD], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        assert done.stdout == _ANSWER, done.stdout

    call()
    return call


def _job(lab: Lab, runtime: Runtime) -> Call:
    program = lab.admit((HELLO / "hello.wasm").read_bytes(), runtime)

    inputs = JobInput(args=(_WORD.encode(),))
    limits = Limits(gas=1 << 50, memory_bytes=16 << 20, output_bytes=1 << 20)
    manifest = manifest_for((HELLO / "hello.wasm").read_bytes(), inputs, limits=limits, wall_time_s=60)

    def call() -> None:
        output = bytearray()
        run = lab.executor.run(program, manifest, inputs, lambda _stream, data: output.extend(data))
        assert output == _ANSWER, run

    for _ in range(_WARM):
        call()
    return call


def run(*, rounds: int, jobs: int, runtime: str) -> dict[str, list[Round]]:
    """Measure all ways by turns."""
    chosen = loading.create(Runtime, runtime, {})  # type: ignore[type-abstract]
    found: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        calls: dict[str, Call] = {}
        native = _native(directory)
        if native is not None:
            calls["native"] = native
        for isolation in ("process", "shared"):
            lab = stack.enter_context(open_lab(directory / "cache", isolation=isolation))
            calls[isolation] = _job(lab, chosen)
        for number in range(rounds):
            turn = list(calls)
            turn = turn[number % len(turn) :] + turn[: number % len(turn)]
            for way in turn:
                found.setdefault(way, []).append(measure(calls[way], jobs))
    return found


def summary(found: dict[str, list[Round]]) -> dict[str, dict[str, float]]:
    """Return the medians of each way's figures, and of each round's ratios to native."""
    table: dict[str, dict[str, float]] = {}
    names = [field.name for field in attrs.fields(Round)]
    for way, rounds in found.items():
        table[way] = {name: statistics.median(getattr(item, name) for item in rounds) for name in names}
        for name in ("latency_p50_ms", "latency_p95_ms", "idle_p50_ms", "idle_p95_ms", "jobs_per_s"):
            if "native" in found and way != "native":
                pairs = zip(rounds, found["native"], strict=True)
                ratios = (getattr(mine, name) / getattr(theirs, name) for mine, theirs in pairs)
                table[way][f"{name.removesuffix('_ms')}_ratio"] = statistics.median(ratios)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=300, help="in each measurement")
    parser.add_argument("--runtime", default="wasmtime")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = summary(run(rounds=options.rounds, jobs=options.jobs, runtime=options.runtime))
    if options.json:
        sys.stdout.write(json.dumps(table, indent=2) + "\n")
        return
    ways = list(table)
    lines = [f"{'':22}" + "".join(f"{way:>12}" for way in ways)]
    for name in dict.fromkeys(name for way in ways for name in table[way]):
        cells = (f"{table[way][name]:12.3f}" if name in table[way] else f"{'':12}" for way in ways)
        lines.append(f"{name:22}" + "".join(cells))
    if "native" in table:
        ours = table["process"]
        lines.append(
            f"a process a job, against spawning the program: latency {ours['idle_p50_ratio']:.2f} "
            f"({ours['latency_p50_ratio']:.2f} back to back), jobs/s with two in flight {ours['jobs_per_s_ratio']:.2f}"
        )
    else:
        lines.append("no C compiler: nothing to compare with")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
