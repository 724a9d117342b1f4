"""Two nodes and a client on one machine: discovery through a third, execution over QUIC and TCP, receipts.

    bootstrap   knows no other node, and runs no strangers' jobs: new nodes start from it
    worker      knows the bootstrap, lends its processor, and says so in the directory
    client      knows the bootstrap only; finds the worker, runs a job on it, and verifies the receipt

Each is a process with directories of its own. Nothing leaves the loopback interface.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
HELLO = REPOSITORY / "examples" / "hello" / "hello.wasm"
CARRIERS = {"QUIC": "/ip4/127.0.0.1/udp/0/quic-v1", "TCP": "/ip4/127.0.0.1/tcp/0"}
LABORATORY = ("--set", "discovery.kademlia.allow_private=true")
"""Loopback addresses are not dialled when a stranger tells of them, except where told so."""
DEADLINE_S = 60


def environ(home: Path) -> dict[str, str]:
    """Return an environment in which a program keeps everything under one directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLASM_", "XDG_"))}
    names = {"XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    return kept | {name: str(home / path) for name, path in names.items()} | {"PLASM_SOCKET": str(home / "s")}


def say(text: str) -> None:
    """Tell what happens."""
    print(f"\n== {text}", flush=True)


@contextlib.contextmanager
def daemon(home: Path, *arguments: str) -> Iterator[str]:
    """Run a node, and yield the address that it can be reached at."""
    home.mkdir()
    log = home / "log"
    command = [sys.executable, "-m", "plasm_core.daemon", "--transport", "libp2p", *LABORATORY, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ(home), stdout=output, stderr=output)
    try:
        yield address_in(log, process)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        print(f"   {home.name}'s log:")
        for line in log.read_text().splitlines():
            print(f"   | {line}")


def address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until a node is ready, and return its first address."""
    deadline = time.monotonic() + DEADLINE_S
    while " ready peer=" not in (text := log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the node did not start:\n{text}")
        time.sleep(0.1)
    line = next(line for line in text.splitlines() if "listening transport=libp2p" in line)
    return line.partition("addresses=")[2].split(",")[0]


def listen(*carriers: str) -> tuple[str, ...]:
    """Return the options of a node that listens by these carriers only."""
    addresses = ", ".join(f'"{CARRIERS[carrier]}"' for carrier in carriers)
    return "--set", f"transport.libp2p.listen=[{addresses}]"


def plasm(home: Path, *arguments: str, stdin: str = "") -> None:
    """Run a command as the client, and show what it says."""
    shown = " ".join(part if len(part) < 60 else part[:57] + "…" for part in arguments)
    print(f"$ plasm {shown}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "plasm_core.cli", *arguments, *LABORATORY],
        env=environ(home),
        input=stdin.encode(),
        check=True,
        timeout=DEADLINE_S,
    )


def main() -> None:
    """Run the example."""
    with tempfile.TemporaryDirectory(prefix="plasm-") as directory:
        home = Path(directory)
        say("the bootstrap node starts")
        with daemon(home / "bootstrap", *listen("TCP")) as bootstrap:
            print(f"   it is at {bootstrap}")
            for carrier in CARRIERS:
                name = f"worker-{carrier.lower()}"
                say(f"a worker joins that listens by {carrier} only; it is told the bootstrap's address")
                with daemon(home / name, "--lend", "--bootstrap", bootstrap, *listen(carrier)) as worker:
                    print(f"   it is at {worker}, which nobody tells the client")
                    say("the client asks the network who there is")
                    plasm(home / "client", "peers", "--bootstrap", bootstrap)
                    say(f"the client hands in a job, and it is run over {carrier}")
                    plasm(
                        home / "client",
                        *("run", "--bootstrap", bootstrap, str(HELLO)),
                        stdin="Hello, world",
                    )
                    say("the worker ends")
            say("the bootstrap ends")


if __name__ == "__main__":
    main()
