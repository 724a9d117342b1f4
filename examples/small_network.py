"""Run a small network on this machine: a bootstrap node, and workers that know only it.

    python examples/small_network.py --workers 2
    python examples/small_network.py --run php examples/remote_test.php

It lasts until standard input ends, or as long as the command that is run, which is given the bootstrap's address.
A line for each node, as soon as it is ready: its name, address, process id and directory.
With `--bootstrap`, the workers join a network that there is. Nothing leaves the loopback interface.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READY = re.compile(r" ready peer=")
LISTED = re.compile(r" ready peer=(?s:.*) advertised classes=\d+ servers=[1-9]")
LISTENING = "listening transport=libp2p addresses="
DEADLINE_S = 90


def environ(home: Path) -> dict[str, str]:
    """Return an environment in which a node keeps everything under one directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLASM_", "XDG_"))}
    names = {"XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    return kept | {name: str(home / path) for name, path in names.items()} | {"PLASM_SOCKET": str(home / "s")}


def start(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a node that listens on a free port of the loopback interface."""
    home.mkdir()
    command = [sys.executable, "-m", "plasm_core.daemon", "--transport", "libp2p"]
    laboratory = ["discovery.kademlia.allow_private=true", 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]']
    for setting in laboratory:
        command += ["--set", setting]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, *arguments], env=environ(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def announce(home: Path, process: subprocess.Popen[bytes], until: re.Pattern[str] = READY) -> str:
    """Wait until a node is ready, tell of it, and return its address."""
    deadline = time.monotonic() + DEADLINE_S
    while not until.search(text := (home / "log").read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{home.name} did not start:\n{text}")
        time.sleep(0.05)
    address = text.partition(LISTENING)[2].split()[0].split(",")[0]
    print(home.name, address, process.pid, home, flush=True)
    return address


def end(process: subprocess.Popen[bytes]) -> None:
    """End a node, whether it wants to or not."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
        return
    process.kill()
    process.wait()


def main() -> None:
    """Run the network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument(
        "--bootstrap", metavar="ADDRESS", help="join this network, and start no bootstrap node"
    )
    parser.add_argument("--name", default="worker", help="what the workers are called: worker0, worker1, …")
    parser.add_argument("--gateway", action="store_true", help="start a node too that hands jobs on")
    parser.add_argument(
        "--run", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this, and end with it"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory, contextlib.ExitStack() as stack:
        home = Path(directory)

        def started(name: str, *arguments: str) -> tuple[Path, subprocess.Popen[bytes]]:
            process = start(home / name, *arguments)
            stack.callback(end, process)
            return home / name, process

        bootstrap = options.bootstrap or announce(*started("bootstrap"))
        joined = [
            started(f"{options.name}{number}", "--lend", "--bootstrap", bootstrap)
            for number in range(options.workers)
        ]
        if options.gateway:
            joined.append(started("gateway", "--bootstrap", bootstrap, "--gateway"))
        for where, process in joined:
            announce(where, process, READY if where.name == "gateway" else LISTED)
        if options.run:
            raise SystemExit(subprocess.run([*options.run, bootstrap]).returncode)
        sys.stdin.read()


if __name__ == "__main__":
    main()
