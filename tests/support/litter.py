"""Daemons that are forked from a process in which the program is loaded: thirty of them start within seconds.

`python -m tests.support.litter` is that process. A line of JSON on its standard input starts a daemon, and the
answer is a line with its pid. All of them are killed when the input ends.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.daemon import Daemon


class Litter:
    """Starts daemons by forking."""

    def __init__(self, mother: subprocess.Popen[str]) -> None:
        self._mother = mother

    def launch(self, daemon: Daemon) -> int:
        """Start a daemon, do not wait for it, and return its pid."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        wanted = [dict(daemon.environ), str(daemon.home), str(daemon.log), list(daemon.arguments)]
        self._mother.stdin.write(json.dumps(wanted) + "\n")
        self._mother.stdin.flush()
        return int(self._mother.stdout.readline())


@contextmanager
def open_litter() -> Iterator[Litter]:
    """Load the program once, and kill what was started when the context ends."""
    command = [sys.executable, "-m", "tests.support.litter"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mother:
        yield Litter(mother)


def _serve() -> None:
    # What a daemon over libp2p would load one by one: a second's work.
    import plasm_core.daemon.main  # noqa: F401
    import plasm_transport_libp2p.kad.directory
    import plasm_transport_libp2p.quic
    import plasm_transport_libp2p.reachability.service
    import plasm_transport_libp2p.tcp  # noqa: F401

    gc.freeze()  # so that no collection writes to the pages that all share
    pids: list[int] = []
    try:
        while line := sys.stdin.readline():
            wanted = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(*wanted)
            pids.append(pid)
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
    finally:
        # Nobody has waited for any of them, so the pids are still theirs.
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _become(environ: dict[str, str], home: str, log: str, arguments: Sequence[str]) -> None:
    """Be a daemon, and end with it."""
    from plasm_core.daemon.main import main

    code = 1
    try:
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(home)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(written, 1)
        os.dup2(written, 2)
        main(arguments)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
