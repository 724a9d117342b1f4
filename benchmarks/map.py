"""Batches: their rate, their memory, and what kills do to them: `python benchmarks/map.py WHAT`.

`rate`: hello jobs through `plasm map` and one at a time, in one run, on a daemon; `network`: the same over 1, 2 and 5
nodes of a network on this machine; `memory`: the client's peak for ever more inputs; `kills`: SIGKILL at random moments
of a batch that is resumed each time; `failures`: one of five nodes killed and one stopped in the midst of a batch.

All nodes share the processors of one machine: rates over several nodes show what the client costs, and not what more
machines give.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.batch.test_map import accepted, ended  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")
PRIVATE = ("--set", "discovery.kademlia.allow_private=true")
NETWORKED = ("--transport", "libp2p", "--set", 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]', *PRIVATE)
_MAP = (sys.executable, "-m", "plasm_core.cli", "map")
_END_S = 800.0
SPINS = 200_000_000


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(daemon: Daemon, *arguments: str, expected: bytes | None = None) -> tuple[float, int]:
    """Run `plasm map`. Return its seconds and the peak of its resident memory in KiB."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [*_MAP, *arguments], env=daemon.environ, stdout=out, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, said.decode()
        if expected is not None:
            out.seek(0)
            assert out.read() == expected
    return seconds, used.ru_maxrss


def printed(jobs: int) -> bytes:
    """Return what hello prints of so many numbers."""
    return b"".join(f"{number}\n".encode()[-2::-1] + b"\n" for number in range(jobs))


def rate(home: Path, jobs: int) -> None:
    """Compare a batch with the single-job path."""
    with Daemon(home) as daemon:
        daemon.start()
        run(daemon, HELLO, "--range", "20", "--", "{}")
        one = single_job_rate(daemon.environ, max(50, jobs // 10))
        for in_flight in ("1", "4", "32"):
            arguments = (HELLO, "--range", str(jobs), "--in-flight", in_flight, "--", "{}")
            seconds, _ = run(daemon, *arguments, expected=printed(jobs))
            say(
                f"{jobs} jobs, at most {in_flight} in flight: {jobs / seconds:.1f} jobs/s with start and end of the command"
            )
        say(f"single-job path, Client.run one after another: {one:.1f} jobs/s")


@contextlib.contextmanager
def network(home: Path, nodes: int) -> Iterator[tuple[Daemon, str, list[Daemon]]]:
    """Run a bootstrap node and some that lend. Yield a client's directories, the address, and the nodes."""
    with contextlib.ExitStack() as stack:

        def node(name: str, *arguments: str) -> Daemon:
            place = home / name
            place.mkdir()
            daemon = stack.enter_context(Daemon(place, *NETWORKED, *arguments))
            daemon.start(until=" ready peer=")
            return daemon

        first = node("bootstrap")
        address = re.findall(r"listening transport=libp2p addresses=([^\s,]+)", first.log.read_text())[-1]
        made = [node(f"node{number}", "--lend", "--bootstrap", address) for number in range(nodes)]
        for daemon in made:
            deadline = time.monotonic() + 60
            while not re.search(r"advertised classes=\d+ servers=[1-9]", daemon.log.read_text()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        place = home / "client"
        place.mkdir()
        yield stack.enter_context(Daemon(place)), address, made


def single_job_rate(environ: Mapping[str, str], jobs: int, bootstrap: str | None = None) -> float:
    """Return the jobs/s of `Client.run`, one after another, over a daemon or a network."""
    from plasm_core import config
    from plasm_core.client import Client

    own = ("PLASM_SOCKET", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    os.environ.update({name: environ[name] for name in own})
    if bootstrap is None:
        made = Client()
    else:
        settings = config.with_table(config.Config(), "discovery", "kademlia", {"allow_private": True})
        made = Client(settings, bootstrap=bootstrap)
    with made as client:
        client.run(HELLO, args=["first"])
        began = time.monotonic()
        for number in range(jobs):
            assert client.run(HELLO, args=[str(number)]).stdout == f"{number}"[::-1].encode() + b"\n"
        return jobs / (time.monotonic() - began)


def over_network(home: Path, jobs: int) -> None:
    """Measure the same jobs over 1, 2 and 5 nodes, and one at a time."""
    for nodes in (1, 2, 5):
        (home / str(nodes)).mkdir()
        with network(home / str(nodes), nodes) as (client, address, _):
            reach = ("--bootstrap", address, *PRIVATE)
            run(client, HELLO, "--range", str(10 * nodes), *reach, "--", "{}")
            one = single_job_rate(client.environ, max(50, jobs // 20), address)
            began = os.times()
            seconds, _ = run(client, HELLO, "--range", str(jobs), *reach, "--", "{}", expected=printed(jobs))
            used = os.times()
            busy_s = used.children_user + used.children_system - began.children_user - began.children_system
            say(
                f"{nodes} nodes: {jobs} jobs at {jobs / seconds:.1f} jobs/s, the client busy for {busy_s / seconds:.0%} of"
                f" a processor; one after another {one:.1f} jobs/s"
            )


def memory(home: Path, most: int, *, reuse: bool) -> None:
    """Measure the client's resident memory for ever more inputs, all along each run.

    `reuse`: all jobs are one task with a kept result. Everything but the conversation with the daemon is as it is
    else, and 100,000 take minutes.
    """
    with Daemon(home) as daemon:
        daemon.start()
        jobs = 100
        while jobs <= most:
            arguments = ["--range", str(jobs), "--", "{}"]
            if reuse:
                arguments = ["--range", str(jobs), "--stdin-text", "the same", "--reuse", "--format", "jsonl"]
            began = time.monotonic()
            process = subprocess.Popen(
                [*_MAP, HELLO, "--quiet", *arguments],
                env=daemon.environ,
                stdout=subprocess.PIPE,
            )
            seen = _watched(process, jobs, reuse=reuse)
            seconds = time.monotonic() - began
            *along, peak = (f"{size / 1024:.1f}" for size in seen)
            say(
                f"{jobs} inputs: peak {peak} MiB, {jobs / seconds:.1f} jobs/s; after each tenth: {', '.join(along)}"
            )
            jobs *= 10


def _watched(process: subprocess.Popen[bytes], jobs: int, *, reuse: bool) -> list[int]:
    """Compare the results with the right ones. Return the resident memory in KiB after each tenth, and the peak."""
    assert process.stdout is not None
    seen, number = list[int](), 0
    for number, line in enumerate(process.stdout, 1):
        if reuse:
            found = json.loads(line)
            assert (found["number"], found["stdout"]) == (number - 1, "emas eht"), found
        else:
            assert line == f"{number - 1}"[::-1].encode() + b"\n", line
        if number < jobs and number * 10 >= jobs * (len(seen) + 1):
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident = re.search(r"VmRSS:\s+(\d+)", status)
            assert resident is not None
            seen.append(int(resident[1]))
            if jobs >= 10_000:
                say(f"  {number} of {jobs}: {seen[-1] / 1024:.1f} MiB")
    _, status_code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status_code)
    assert (process.returncode, number) == (0, jobs)
    return [*seen, used.ru_maxrss]


def kills(home: Path, jobs: int, count: int) -> None:
    """Kill a batch at random moments, and resume it each time."""
    chosen = random.Random(7)
    done = 0
    with Daemon(home) as daemon:
        daemon.start()
        while done < count:
            batch, before = home / f"b{done}", accepted(daemon)
            resumed = False
            while True:
                begin = (
                    ["--resume", str(batch)]
                    if resumed
                    else [HELLO, "--range", str(jobs), "--batch", str(batch)]
                )
                arguments = [*begin, "--in-flight", "8", *([] if resumed else ["--", "{}"])]
                process = subprocess.Popen(
                    [*_MAP, *arguments],
                    env=daemon.environ,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                deadline = time.monotonic() + 60
                while not resumed and not ended(batch) and process.poll() is None:
                    assert time.monotonic() < deadline
                time.sleep(chosen.uniform(0, 2.0))
                process.send_signal(signal.SIGKILL)
                killed = process.wait() == -signal.SIGKILL
                resumed = True
                if killed:
                    done += 1
                if ended(batch) == jobs or done >= count:
                    break
            run(daemon, "--resume", str(batch), expected=printed(jobs))
            doubled = accepted(daemon) - before - jobs
            assert not doubled, doubled
            say(
                f"{done} kills so far: {jobs} results in order, {accepted(daemon) - before} jobs accepted by the daemon"
            )


def failures(home: Path, jobs: int) -> None:
    """Kill one node of five and stop another in the midst of a batch."""
    from tests.support.wat import starting

    body = f"(local $left i32) (local.set $left (i32.const {SPINS})) (loop (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
    (home / "spin.wasm").write_bytes(starting(body))
    times = []
    for disturbed in (False, True):
        place = home / str(disturbed)
        place.mkdir()
        with network(place, 5) as (client, address, nodes):
            batch = place / "b"
            command = [str(home / "spin.wasm"), "--range", str(jobs), "--bootstrap", address, *PRIVATE]
            began = time.monotonic()
            process = subprocess.Popen(
                [*_MAP, *command, "--batch", str(batch), "--", "{}"],
                env=client.environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            if disturbed:
                while ended(batch) < jobs // 3 and process.poll() is None:
                    time.sleep(0.05)
                nodes[0].kill()
                stopped = nodes[1].process
                assert stopped is not None
                stopped.send_signal(signal.SIGSTOP)
            _, said = process.communicate(timeout=_END_S)
            times.append(time.monotonic() - began)
            assert process.returncode == 0, said.decode()
            assert ended(batch) == jobs
            if disturbed:
                assert stopped is not None
                stopped.send_signal(signal.SIGCONT)
        what = "one of five killed and one stopped" if disturbed else "undisturbed"
        say(f"{jobs} jobs over five nodes, {what}: {times[-1]:.1f} s, all results")
    say(f"disturbed / undisturbed: {times[1] / times[0]:.2f}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rate", "network", "memory", "kills", "failures"))
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--reuse", action="store_true", help="memory: of jobs that are one kept result")
    options = parser.parse_args()
    say(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory:
        home = Path(directory)
        if options.what == "rate":
            rate(home, options.jobs)
        elif options.what == "network":
            over_network(home, options.jobs)
        elif options.what == "memory":
            memory(home, options.jobs, reuse=options.reuse)
        elif options.what == "kills":
            kills(home, options.jobs, options.kills)
        else:
            failures(home, options.jobs)


if __name__ == "__main__":
    main()
