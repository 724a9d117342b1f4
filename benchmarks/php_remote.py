"""Run the same jobs on one node through the PHP client and through Python's, both in remote mode; print medians.

    python benchmarks/php_remote.py --megabytes 50 --rounds 5

The jobs: a module that is mostly data, so that its upload and its compilation count; and input that comes back as
output. The node and each client are processes of their own on this machine, connected by TCP, Noise and yamux over
the loopback interface. Discovery is over before the time is taken.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from plasm_core import config
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.opening import open_client
from plasm_core.client.submission import Submission
from plasm_core.records import Limits

REPOSITORY = Path(__file__).parents[1]
CAT = REPOSITORY / "php/tests/Integration/modules/cat.wasm"
INPUT = "INPUT"
DEADLINE_S = 600


@contextmanager
def network() -> Iterator[str]:
    """Run a bootstrap node and a worker, and yield the bootstrap's address."""
    script = REPOSITORY / "examples/small_network.py"
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        bootstrap = process.stdout.readline().split()[1].decode()
        process.stdout.readline()
        yield bootstrap
    finally:
        process.stdin.close()
        process.wait(60)


def section(number: int, body: bytes) -> bytes:
    """Return a section of a module."""
    return bytes([number]) + leb(len(body)) + body


def leb(value: int) -> bytes:
    """Return an unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def module(size: int) -> bytes:
    """Return a module that does nothing, with a data segment of so many random bytes."""
    pages = size // 65_536 + 1
    return (
        b"\0asm\1\0\0\0"
        + section(1, b"\1\x60\0\0")
        + section(3, b"\1\0")
        + section(5, b"\1\0" + leb(pages))
        + section(7, b"\2\6memory\2\0\6_start\0\0")
        + section(10, b"\1\2\0\x0b")
        + section(11, b"\1\0\x41\0\x0b" + leb(size) + os.urandom(size))
    )


async def python(bootstrap: str, what: str, files: Sequence[Path]) -> list[float]:
    """Run the jobs through the Python client."""
    settings = config.load(
        settings=["discovery.kademlia.allow_private=true"],
        overrides={"discovery.kademlia.bootstrap": [bootstrap]},
    )
    seconds = []
    async with open_client(settings, transport="libp2p") as client:
        assert isinstance(client.dialler, RemoteDialler)
        assert await client.dialler.search.candidates(), "no node was found"
        for file in files:
            started = time.perf_counter()
            limits = Limits(gas=10_000_000_000, memory_bytes=256 << 20, output_bytes=64 << 20)
            if what == INPUT:
                job = Submission.of(file, limits=limits)
            else:
                job = Submission.of(Path(what), stdin=file, limits=limits)
            result = await client.run(job, timeout_s=DEADLINE_S)
            assert result.ok
            assert len(result.stdout) == (0 if what == INPUT else file.stat().st_size)
            seconds.append(time.perf_counter() - started)
    return seconds


def measured(command: Sequence[str | Path], environ: dict[str, str]) -> list[list[str]]:
    """Return what a client's process prints, a line for each job."""
    done = subprocess.run(
        command, env=environ, check=True, capture_output=True, text=True, timeout=DEADLINE_S
    )
    return [line.split() for line in done.stdout.splitlines()]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=50, metavar="N", help="MiB each way")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--python", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.python:
        bootstrap, what, *names = options.python
        seconds = trio.run(python, bootstrap, what, [Path(name) for name in names])
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        for value in seconds:
            print(f"{value:.3f} 0 {held}")  # noqa: T201
        return
    size = options.megabytes << 20
    print(f"{'':24}{'s':>8}{'MB/s':>8}{'peak MiB':>10}")  # noqa: T201
    with network() as bootstrap, tempfile.TemporaryDirectory() as directory:
        environ = os.environ | {
            "XDG_CACHE_HOME": directory,
            "XDG_STATE_HOME": directory,
            "XDG_CONFIG_HOME": directory,
        }
        clients: dict[str, list[str | Path]] = {
            "PHP": ["php", REPOSITORY / "benchmarks/php_remote.php"],
            "Python": [sys.executable, __file__, "--python"],
        }
        for job, what, moved in (("module", INPUT, size), ("input and output", str(CAT), 2 * size)):
            for name, command in clients.items():
                files = [Path(directory) / f"{name}{number}" for number in range(options.rounds)]
                for file in files:
                    file.write_bytes(module(size))
                lines = measured([*command, bootstrap, what, *files], environ)
                median = statistics.median(float(line[0]) for line in lines)
                peak = max(int(line[2]) for line in lines) / (1 << 20)
                print(  # noqa: T201
                    f"{job + ', ' + name:24}{median:8.2f}{moved / median / 1e6:8.1f}{peak:10.0f}", flush=True
                )
                for file in files:
                    file.unlink()


if __name__ == "__main__":
    main()
