"""What a small job costs, from its submission to its verified result: `python benchmarks/end_to_end.py`.

The job is examples/hello. Each way runs it one at a time and with many in flight, in one run with what it is measured
against: the executor alone, two commits of SQLite a job, and the same program built natively and handed out by huey
and by dask.distributed. Only the ratios of one run mean something on another machine.

`--sections` chooses some of: base, local, output, php, remote, cli, others, growth, memory. `--rounds` runs all but the
last two of them by turns, and keeps the best round of each way, the one least disturbed. `--out FILE.json` keeps the
figures, replaces those of the sections that were run again, and writes FILE.txt and FILE.svg beside it. `--others`
names a Python in which huey and distributed are installed.

Syncs are counted in the daemon by a library that is loaded before libc (fsync, fdatasync, msync), which takes a C
compiler. Processor time is that of the client's process, of the daemon without its children, and of the children:
the zygote and the workers.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import trio  # noqa: E402

from benchmarks.end_to_end_cli import cold_starts  # noqa: E402
from benchmarks.end_to_end_counting import Figures, SyncCounter, Usage, figures, measure  # noqa: E402
from benchmarks.end_to_end_report import write_report  # noqa: E402
from plasm_core import config  # noqa: E402
from plasm_core.client import AsyncClient, Client, Submission, open_client  # noqa: E402
from plasm_core.client.daemon_query import ask  # noqa: E402
from plasm_core.config import Config  # noqa: E402
from plasm_core.protocol import METRICS_PROTOCOL  # noqa: E402
from plasm_core.records import Handle, JobInput, Limits, manifest_for  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402
from tests.support.lab import open_lab  # noqa: E402
from tests.support.wat import FOREVER, writing  # noqa: E402

HELLO = ROOT / "examples" / "hello"
_WORD, _ANSWER = "abc", b"cba\n"
_LIMITS = Limits(gas=1 << 40, memory_bytes=16 << 20, output_bytes=1 << 20)
_ROW_BYTES = 3000
"""What the daemon keeps of a small job: its manifest and its receipt."""
_WARM = 20
_COLD_STARTS = 11
_LARGE_BYTES = 1 << 20
_OTHERS = ("huey", "dask")
_ENDLESS = Limits(gas=10**15, memory_bytes=16 << 20, output_bytes=0)
_LONG_QUEUE = ("--set", "queue.jobs=30000", "--set", "queue.jobs_per_client=30000")


def executor_alone(directory: Path, jobs: int, in_flight: int) -> Figures:
    """Run jobs by `Executor.run` on a warm node: no client, no daemon, no disk."""
    with open_lab(directory / "lab") as lab:
        code = (HELLO / "hello.wasm").read_bytes()
        program = lab.admit(code)
        inputs = JobInput(args=(_WORD.encode(),))
        manifest = manifest_for(code, inputs, limits=_LIMITS, wall_time_s=60)

        def call() -> None:
            output = bytearray()
            lab.executor.run(program, manifest, inputs, lambda _stream, data: output.extend(data))
            assert output == _ANSWER

        measure(call, _WARM * 3, 2)
        return figures(*measure(call, jobs, in_flight), in_flight)


def two_commits(directory: Path, jobs: int) -> Figures:
    """Commit two rows for each job, as durable as the daemon's, and nothing else."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE job (row INTEGER PRIMARY KEY, data BLOB)")

    def call() -> None:
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO job (data) VALUES (?)", (os.urandom(_ROW_BYTES),))
            connection.execute("COMMIT")

    with contextlib.closing(connection):
        return figures(*measure(call, jobs, 1), 1)


@contextlib.contextmanager
def daemon_for(directory: Path, syncs: SyncCounter, *settings: str) -> Iterator[Daemon]:
    """Run a daemon of our own with some arguments, and have clients in this process find it."""
    home = directory / "daemon"
    home.mkdir()
    with Daemon(home, *settings, environ=syncs.environ) as daemon:
        daemon.start(until="ready peer=")
        kept = os.environ.get("PLASM_SOCKET")
        os.environ["PLASM_SOCKET"] = str(daemon.socket)
        try:
            yield daemon
        finally:
            os.environ.pop("PLASM_SOCKET")
            if kept is not None:
                os.environ["PLASM_SOCKET"] = kept
            daemon.terminate()


def hello_job(client: Client) -> Callable[[], object]:
    """Return a call that runs examples/hello, with the module in memory."""
    code = (HELLO / "hello.wasm").read_bytes()

    def call() -> None:
        assert client.run(code, args=[_WORD], limits=_LIMITS).stdout == _ANSWER

    return call


def large_job(client: Client) -> Callable[[], object]:
    """Return a call that runs a job with 1 MiB of output."""
    code = writing(b"x" * 4096, times=_LARGE_BYTES // 4096)
    limits = attrs.evolve(_LIMITS, output_bytes=_LARGE_BYTES)

    def call() -> None:
        assert len(client.run(code, limits=limits).stdout) == _LARGE_BYTES

    return call


def through(
    daemon: Daemon, syncs: SyncCounter, call: Callable[[], object], jobs: int, in_flight: int
) -> Figures:
    """Run jobs through a daemon, from threads that share a client."""
    assert daemon.process is not None
    measure(call, max(_WARM, in_flight), in_flight)
    before = Usage.now(daemon.process.pid, syncs)
    took, times = measure(call, jobs, in_flight)
    usage = Usage.now(daemon.process.pid, syncs).since(before, jobs)
    return figures(took, times, in_flight, **usage)


def through_loop(daemon: Daemon, syncs: SyncCounter, jobs: int, in_flight: int, clients: int = 1) -> Figures:
    """Run jobs from trio tasks, which share so many clients: a program without threads, or many programs."""
    assert daemon.process is not None
    pid, code, times = daemon.process.pid, (HELLO / "hello.wasm").read_bytes(), list[float]()

    async def work(client: AsyncClient, turns: Iterator[int], jobs: int) -> None:
        while next(turns) < jobs:
            started = time.perf_counter()
            with Submission.of(code, args=[_WORD], limits=_LIMITS) as job:
                assert (await client.run(job)).stdout == _ANSWER
            times.append(time.perf_counter() - started)

    async def many(opened: list[AsyncClient], jobs: int) -> float:
        turns, started = itertools.count(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for number in range(in_flight):
                nursery.start_soon(work, opened[number % clients], turns, jobs)
        return time.perf_counter() - started

    async def main() -> Figures:
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(open_client()) for _ in range(clients)]
            await many(opened, max(_WARM, in_flight))
            times.clear()
            before = Usage.now(pid, syncs)
            took = await many(opened, jobs)
            usage = Usage.now(pid, syncs).since(before, jobs)
            return figures(took, times, in_flight, **usage)

    return trio.run(main)


def through_php(daemon: Daemon, syncs: SyncCounter, jobs: int) -> Figures:
    """Run jobs one at a time by the PHP client, whose start is part of its processor time."""
    assert daemon.process is not None
    command = ["php", str(ROOT / "benchmarks" / "end_to_end.php"), str(HELLO / "hello.wasm"), _WORD]

    def run(jobs: int) -> list[float]:
        done = subprocess.run([*command, str(jobs)], check=True, capture_output=True, text=True, timeout=300)
        return [float(line) for line in done.stdout.split()]

    run(_WARM)
    before = Usage.now(daemon.process.pid, syncs)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = run(jobs)
    usage = Usage.now(daemon.process.pid, syncs).since(before, jobs)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_s = ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime
    return figures(sum(times), times, 1, **(usage | {"client_cpu_ms": took_s / jobs * 1e3}))


def lab_network() -> Config:
    """Return the configuration of a client or node on the loopback interface."""
    return config.load(settings=["discovery.kademlia.allow_private=true"])


def addresses_of(daemon: Daemon) -> list[str]:
    """Return where a daemon listens, as its log says."""
    said = daemon.log.read_text().partition("listening transport=libp2p addresses=")[2]
    return said.split("\n", 1)[0].split(",")


_LISTEN = 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]'
_LENDS = (
    "--lend",
    "--transport",
    "libp2p",
    "--set",
    "discovery.kademlia.allow_private=true",
    "--set",
    _LISTEN,
)


class Bench:
    """One run: how many jobs, what was counted so far."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.jobs: int = options.jobs
        self.in_flight: int = options.in_flight
        self.other_python: str | None = options.others
        self.depth: int = options.depth
        self.syncs = SyncCounter(directory)
        self.ways: dict[str, Figures] = {}
        self.numbers: dict[str, object] = {}
        self._directories = itertools.count()

    def fresh(self) -> Path:
        """Make a directory that nothing has used."""
        directory = self.directory / str(next(self._directories))
        directory.mkdir()
        return directory

    @contextlib.contextmanager
    def daemon(self, *settings: str) -> Iterator[Daemon]:
        """Run a daemon in a directory of its own."""
        with daemon_for(self.fresh(), self.syncs, *settings) as daemon:
            yield daemon

    def base(self) -> None:
        """What everything is measured against."""
        self.ways["executor, one"] = executor_alone(self.fresh(), self.jobs, 1)
        self.ways["executor, two"] = executor_alone(self.fresh(), 2 * self.jobs, 2)
        self.ways["two commits"] = two_commits(self.fresh(), self.jobs)

    def local(self) -> None:
        """The daemon's socket, from threads and from a loop."""
        with self.daemon() as daemon, Client() as client:
            call = hello_job(client)
            self.ways["client, one"] = through(daemon, self.syncs, call, self.jobs, 1)
            name = f"client, {self.in_flight} threads"
            self.ways[name] = through(daemon, self.syncs, call, 2 * self.jobs, self.in_flight)
            name = f"async client, {self.in_flight}"
            self.ways[name] = through_loop(daemon, self.syncs, 2 * self.jobs, self.in_flight)

    def output(self) -> None:
        """A megabyte of output."""
        with self.daemon() as daemon, Client() as client:
            call = large_job(client)
            for in_flight in (1, 8):
                name = f"1 MiB of output, {in_flight}"
                self.ways[name] = through(daemon, self.syncs, call, max(32, self.jobs // 4), in_flight)

    def php(self) -> None:
        """The PHP client, one at a time."""
        with self.daemon() as daemon:
            self.ways["PHP, one"] = through_php(daemon, self.syncs, self.jobs)

    def remote(self) -> None:
        """A node over TCP and over QUIC on the loopback interface, and the same daemon by its socket."""
        with self.daemon(*_LENDS) as daemon:
            daemon_of = Client()
            self.ways["lending daemon, socket, one"] = through(
                daemon, self.syncs, hello_job(daemon_of), self.jobs, 1
            )
            self.ways[f"lending daemon, socket, {self.in_flight}"] = through(
                daemon, self.syncs, hello_job(daemon_of), self.jobs, self.in_flight
            )
            daemon_of.close()
            for address in addresses_of(daemon):
                kind = "QUIC" if "quic" in address else "TCP"
                with Client(lab_network(), transport="libp2p", peer=address) as client:
                    call = hello_job(client)
                    self.ways[f"{kind}, one"] = through(daemon, self.syncs, call, self.jobs // 2, 1)
                    self.ways[f"{kind}, {self.in_flight}"] = through(
                        daemon, self.syncs, call, self.jobs, self.in_flight
                    )

    def cli(self) -> None:
        """The cold start of commands."""
        with self.daemon():
            self.numbers["cli_cpu_ms"] = cold_starts(HELLO / "hello.wasm", _WORD, _COLD_STARTS)

    def others(self) -> None:
        """What a user would take instead: the native program, handed out by huey and by dask.distributed."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if self.other_python is None or compiler is None:
            return
        program = self.directory / "native"
        subprocess.run([compiler, "-O2", "-o", program, HELLO / "hello.c"], check=True)
        script = ROOT / "benchmarks" / "end_to_end_others.py"
        for name in _OTHERS:
            for in_flight in (1, self.in_flight):
                arguments = [name, str(program), _WORD, str(self.jobs), str(in_flight), str(self.fresh())]
                done = subprocess.run(
                    [self.other_python, str(script), *arguments], check=True, capture_output=True, timeout=300
                )
                took, times = json.loads(done.stdout)
                self.ways[f"{name}, {in_flight}"] = figures(took, times, in_flight)

    def growth(self) -> None:
        """Jobs a second by how many wait, and by how many clients there are."""
        depths = [depth for depth in (100, 1_000, 3_000, 10_000) if depth <= self.depth]
        with self.daemon(*_LONG_QUEUE):
            filling, draining = trio.run(queue_growth, depths)
        self.numbers["accepted_per_s_by_depth"], self.numbers["ended_per_s_by_depth"] = filling, draining
        with self.daemon() as daemon:
            self.numbers["jobs_per_s_by_clients"] = [
                [count, through_loop(daemon, self.syncs, max(100, count * 2), count, count).jobs_per_s]
                for count in (1, 10, 50, 100, 200)
            ]

    def memory(self) -> None:
        """What daemons hold: idle, with the network, and for each waiting job."""
        found: dict[str, float] = {}
        with self.daemon() as daemon:
            found["idle_MiB"] = resident_mib(daemon)
        with self.daemon("--transport", "libp2p", "--set", _LISTEN) as daemon:
            found["idle_libp2p_MiB"] = resident_mib(daemon)
        with self.daemon(*_LONG_QUEUE) as daemon:
            few, many = trio.run(queued_mib, daemon, [100, self.depth])
        found["queued_MiB"], found["queued"] = many, self.depth
        found["queued_KiB_per_job"] = (many - few) * 1024 / (self.depth - 100)
        self.numbers["memory"] = found


def resident_mib(daemon: Daemon) -> float:
    """Return what a daemon's own process holds in memory, in MiB."""
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@attrs.frozen
class Submitter:
    """Submits many jobs beside one another by one client, without waiting for their results."""

    client: AsyncClient

    async def block(self) -> Handle:
        """Submit a job that takes every processor, and uses one of them, until it is cancelled."""
        cpu = os.cpu_count() or 1
        with Submission.of(writing(b"", then=FOREVER), limits=_ENDLESS, wall_time_s=3600, cpu=cpu) as job:
            return await self.client.submit(job)

    async def submit(self, count: int) -> list[float]:
        """Submit examples/hello so often. Return the moments at which the jobs were accepted."""
        code, moments, turns = (HELLO / "hello.wasm").read_bytes(), list[float](), itertools.count()

        async def work() -> None:
            while next(turns) < count:
                with Submission.of(code, args=[_WORD], limits=_LIMITS) as job:
                    await self.client.submit(job)
                moments.append(time.perf_counter())

        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(work)
        return moments


async def waiting_jobs() -> int:
    """Return how many jobs wait in the daemon."""
    found = re.search(rb"jobs_waiting ([0-9]+)", await ask(Config(), METRICS_PROTOCOL))
    return int(found[1]) if found else 0


async def queue_growth(depths: list[int]) -> tuple[list[list[float]], list[list[float]]]:
    """Fill a queue, and let it run empty. Return jobs accepted and jobs ended a second, by how many waited at most."""
    async with open_client() as client:
        submitter = Submitter(client)
        blocking = await submitter.block()
        began = time.perf_counter()
        accepted = [began, *await submitter.submit(max(depths))]
        await client.cancel(blocking)
        seen = [(await waiting_jobs(), time.perf_counter())]
        while seen[-1][0]:
            await trio.sleep(0.1)
            seen.append((await waiting_jobs(), time.perf_counter()))
    filling, draining = list[list[float]](), list[list[float]]()
    for lower, upper in itertools.pairwise([0, *depths]):
        filling.append([upper, (upper - lower) / (accepted[upper] - accepted[lower])])
        within = [(depth, moment) for depth, moment in seen if lower <= depth <= upper]
        if len(within) > 1 and within[0][0] > within[-1][0]:
            draining.append([upper, (within[0][0] - within[-1][0]) / (within[-1][1] - within[0][1])])
    return filling, draining


async def queued_mib(daemon: Daemon, counts: list[int]) -> list[float]:
    """Have more and more jobs wait. Return what the daemon holds with each number of them, in MiB."""
    async with open_client() as client:
        submitter, found, there = Submitter(client), list[float](), 0
        await submitter.block()
        for count in counts:
            await submitter.submit(count - there)
            found.append(resident_mib(daemon))
            there = count
        return found


def machine() -> dict[str, object]:
    """Describe the machine."""
    model = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processors": os.cpu_count(),
        "model": model,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": round(os.getloadavg()[0], 1),
    }


_ONCE = ("growth", "memory")
SECTIONS = ("base", "local", "output", "php", "remote", "cli", "others", "growth", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500, help="in each measurement")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1, help="by turns; of each way the best is kept")
    parser.add_argument("--depth", type=int, default=10_000, help="of the longest queue")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--others", metavar="PYTHON", help="an interpreter with huey and distributed")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    chosen = options.sections.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    report: dict[str, dict[str, object]] = {}
    if options.out is not None and options.out.exists():
        report = json.loads(options.out.read_text())
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options)
        rounds = [section for section in chosen if section not in _ONCE] * options.rounds
        fresh = dict[str, dict[str, Figures]]()
        for section in [*rounds, *(section for section in chosen if section in _ONCE)]:
            bench.ways, bench.numbers = {}, {}
            getattr(bench, section)()
            best = fresh.setdefault(section, {})
            for way, item in bench.ways.items():
                if way not in best or item.jobs_per_s > best[way].jobs_per_s:
                    best[way] = item
            report[section] = {
                "machine": machine(),
                "ways": {way: attrs.asdict(item) for way, item in best.items()},
                "numbers": bench.numbers,
            }
            if options.out is not None:
                options.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(write_report(report, options.out))


if __name__ == "__main__":
    main()
