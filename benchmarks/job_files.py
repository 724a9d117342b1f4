"""What jobs with files cost, and that jobs without any cost no more: `python benchmarks/job_files.py`.

start     100 MB of input files to the daemon over its Unix socket: the time until the job is RUNNING, beside three
          rows of the same bytes: hashing the files once; sending them over the same transport to a process that
          throws them away; sending them so to a process that hashes them and has them on the disk, with one sync,
          before it answers. The last is what a node does with files at least: it trusts no client's digests, and an
          accepted job is durable. Rows take turns; figures are medians, and so are the quotients of each round.
          The exit code is 1 if a job starts later than 1.2 times hashing and sending to the disk
passing   10,000 small files, and with --big one file of 2 GiB, there and back: times, and the greatest memory
          (VmHWM) of client and daemon
before    with --before PYTHON, the interpreter of another checkout: jobs without files, one after the other, at a
          daemon of each, by turns
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.large_jobs import peak_bytes  # noqa: E402
from plasm_core import Client  # noqa: E402
from plasm_core.testing.bench import MODULES  # noqa: E402
from plasm_transport_local import LocalTransport  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402

RESULTS = ROOT / "benchmarks/results/job-files.txt"
MODULE = (MODULES / "files.wasm").read_bytes()
CHUNK_BYTES = 1 << 16
MIB = 1 << 20
WORTH = 1.2
END = b"end of the files"
SINK, STORE = "/benchmark/sink/1.0.0", "/benchmark/store/1.0.0"
_SINK = f"""
import hashlib, os, sys, trio
from plasm_transport_local import LocalTransport
async def sink(stream):
    while not (await stream.receive_some()).endswith(b"end of the files"):
        pass
    await stream.send_all(b"!")
    await stream.aclose()
async def store(stream):
    digest, place = hashlib.sha256(), sys.argv[1] + ".stored"
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    ended = False
    while not ended:
        data = await stream.receive_some()
        ended = data.endswith(b"end of the files")
        digest.update(data)
        os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    await stream.send_all(b"!")
    await stream.aclose()
    os.unlink(place)
async def main():
    async with LocalTransport(socket=sys.argv[1]).open(None, {{"{SINK}": sink, "{STORE}": store}}):
        print(flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
trio.run(main)
"""
_PASSING = """
import sys, time
from pathlib import Path
from plasm_core import Client
from plasm_core.client.file_terms import InputDirectory
place, module, back = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3] == "back"
began = time.monotonic()
given = {"in": InputDirectory(place, writable=True)}
result = Client().run(module, files=given, outputs=["in", "out/"] if back else ["out/"], timeout_s=1800, wall_time_s=600)
took = time.monotonic() - began
assert result.ok, result.outcome
assert not back or len(result.files) == 2 + sum(item.is_file() for item in place.rglob("*"))
# ru_maxrss would begin with the memory of the process that started this one, getrusage(2).
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(took, int(peak.split()[1]) << 10)
"""
_PLAIN = """
import sys, time
from pathlib import Path
from plasm_core import Client
module, count = Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
with Client() as client:
    client.run(module, stdin=b"first")
    began = time.monotonic()
    for number in range(count):
        client.run(module, stdin=b"%d" % number)
    print((time.monotonic() - began) / count)
"""


def files_of(place: Path) -> list[Path]:
    """Return all files of a directory."""
    return [path for path in place.rglob("*") if path.is_file()]


def hash_files(place: Path) -> float:
    """Read and hash all files once. Return how many seconds that took."""
    began = time.monotonic()
    for path in place.rglob("*"):
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while data := file.read(MIB):
                    digest.update(data)
    return time.monotonic() - began


async def send_bytes(files: list[Path], address: str, protocol: str) -> float:
    """Send all files' bytes to another process. Return how many seconds passed until it answered."""
    async with LocalTransport().open(None, {}) as network:
        stream = await network.dial(address, protocol)
        began = time.monotonic()
        for path in files:
            with path.open("rb") as file:
                while data := file.read(CHUNK_BYTES):
                    await stream.send_all(data)
        await stream.send_all(END)
        await stream.receive_some(1)
        took = time.monotonic() - began
        await stream.aclose()
    return took


@contextlib.contextmanager
def sinking(directory: Path) -> Iterator[str]:
    """Have a process throw away what it is sent, and yield where."""
    path = directory / "sink.sock"
    command = [sys.executable, "-c", _SINK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield f"unix:{path}"
        finally:
            process.communicate(b"")


def start_job(client: Client, place: Path) -> float:
    """Run a job with files. Return the seconds from the call until it was RUNNING, or had ended at once."""
    (place / "nonce").write_bytes(os.urandom(16))  # a tree that the node has not had
    moments: dict[str, float] = {}
    began = time.monotonic()
    client.run(
        MODULE,
        files={"in": place},
        outputs=["out/"],
        watch=lambda phase, _status: moments.setdefault(str(phase), time.monotonic()),
    ).files.close()
    seen = ("RUNNING", "COMPLETE")
    return next(moment for phase, moment in moments.items() if any(state in phase for state in seen)) - began


def starting(size: int, rounds: int) -> tuple[list[str], bool]:
    """Return the lines of the first part, and whether jobs start in time."""
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home)) as daemon:
        place = Path(home, "data")
        place.mkdir()
        (place / "data").write_bytes(b"x")
        for number in range(10):
            (place / str(number)).write_bytes(os.urandom(size // 10))
        daemon.start()
        os.environ.update(daemon.environ)
        times: dict[str, list[float]] = {}
        with Client() as client, sinking(daemon.socket.parent) as sink:
            client.run(MODULE, files={"in/data": b"x"}, outputs=["out/"]).files.close()
            rows: dict[str, Callable[[], float]] = {
                "hashing": lambda: hash_files(place),
                "sending": lambda: trio.run(send_bytes, files_of(place), sink, SINK),
                "sending to the disk": lambda: trio.run(send_bytes, files_of(place), sink, STORE),
                "a job, until RUNNING": lambda: start_job(client, place),
            }
            for _ in range(rounds):
                for name, measure in rows.items():
                    times.setdefault(name, []).append(measure())
    found = {name: statistics.median(values) for name, values in times.items()}
    lines = [f"{name:32}{1000 * value:>10.0f} ms" for name, value in found.items()]
    ratios = {}
    for sent in ("sending", "sending to the disk"):
        rounds_of = zip(times["a job, until RUNNING"], times["hashing"], times[sent], strict=True)
        ratios[sent] = statistics.median(job / (hashed + taken) for job, hashed, taken in rounds_of)
        lines.append(f"{f'÷ hashing and {sent}':32}{ratios[sent]:>10.2f}")
    return lines, ratios["sending to the disk"] <= WORTH


def pass_through(fill: Callable[[Path], None], *, back: bool) -> tuple[float, int, int]:
    """Have files pass through a daemon, and back. Return seconds, and the peaks of client and daemon in bytes."""
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home)) as daemon:
        place, module = Path(home, "data"), Path(home, "files.wasm")
        place.mkdir()
        module.write_bytes(MODULE)
        (place / "data").write_bytes(b"x")
        fill(place)
        daemon.start()
        assert daemon.process is not None
        command = [sys.executable, "-c", _PASSING, str(place), str(module), "back" if back else "in"]
        done = subprocess.run(
            command,
            env=daemon.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        took, client = done.stdout.split()
        return float(took), int(client), peak_bytes(daemon.process.pid)


def passing(name: str, fill: Callable[[Path], None], *, back: bool) -> str:
    """Return a line about files that pass."""
    took, client, peak = pass_through(fill, back=back)
    return f"{name:24}{took:>10.1f} s   client {client // MIB:>5} MiB   daemon {peak // MIB:>5} MiB"


def many(place: Path) -> None:
    """Write 10,000 small files."""
    for number in range(10_000):
        folder = place / f"{number % 100:02}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_bytes(b"%d" % number * 100)


def one_of(size: int) -> Callable[[Path], None]:
    """Return a function that writes one file."""

    def fill(place: Path) -> None:
        with (place / "big").open("wb") as file:
            block = os.urandom(MIB)
            for number in range(size // MIB):
                file.write(number.to_bytes(4, "big") + block[4:])

    return fill


def plain(python: str, count: int) -> float:
    """Run jobs without files, at a daemon of another checkout perhaps. Return the seconds of one."""
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home)) as daemon:
        module = Path(home, "echo.wasm")
        module.write_bytes((MODULES / "echo.wasm").read_bytes())
        with daemon.log.open("ab") as log:
            daemon.process = subprocess.Popen(
                [python, "-m", "plasm_core.daemon"],
                env=daemon.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
            )
        while not daemon.answers():
            time.sleep(0.05)
        command = [python, "-c", _PLAIN, str(module), str(count)]
        done = subprocess.run(command, env=daemon.environ, stdout=subprocess.PIPE, check=True, cwd=home)
        return float(done.stdout)


def before(python: str, rounds: int, count: int) -> list[str]:
    """Return the lines about jobs without files."""
    rows = {"before": python, "now": sys.executable}
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, interpreter in rows.items():
            times.setdefault(name, []).append(plain(interpreter, count))
    return [
        f"{name:24}{1000 * statistics.median(values):>10.2f} ms   (from {1000 * min(values):.2f} to {1000 * max(values):.2f})"
        for name, values in times.items()
    ]


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--big", type=int, default=0, metavar="MIB", help="the size of the one file")
    parser.add_argument("--before", metavar="PYTHON")
    parser.add_argument("--jobs", type=int, default=300)
    options = parser.parse_args()
    first, is_worth = starting(options.size, options.rounds)
    lines = [
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}  {platform.platform()}  Python {platform.python_version()}",
        f"start: {options.size:,} bytes in 10 files, medians of {options.rounds} rounds by turns",
        "",
        *first,
        "",
        "passing:",
        "",
        passing("10,000 files, there", many, back=False),
        passing("10,000 files, and back", many, back=True),
    ]
    if options.big:
        lines.append(passing(f"{options.big} MiB, there", one_of(options.big * MIB), back=False))
        lines.append(passing(f"{options.big} MiB, and back", one_of(options.big * MIB), back=True))
    if options.before:
        lines += ["", f"jobs without files, each: medians of {options.rounds} rounds of {options.jobs}", ""]
        lines += before(options.before, options.rounds, options.jobs)
    lines.append(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    RESULTS.write_text(text)
    return 0 if is_worth else 1


if __name__ == "__main__":
    sys.exit(main())
