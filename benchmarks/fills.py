"""Fill what a node lends, as one user of its machine, and see whether others get through: `python benchmarks/fills.py`.

As root, on Linux. For each kind a daemon of its own; one user takes what it gets at no cost; then another user hands
in a job, and ten clients of the operator run one each. Printed is what the first got, and how the others fared.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from plasm_core.client import Client, Submission  # noqa: E402
from plasm_core.protocol.messages import Accepted, Offered, Uploads  # noqa: E402
from plasm_core.records import Limits  # noqa: E402
from tests.support.conversing import PLENTY, Caller, accept, dial_as  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402
from tests.support.wat import function, starting, writing  # noqa: E402

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
GREEDY, OTHER = 4001, 4002
_PATIENCE_S = 20.0


def fill_connections(daemon: Daemon) -> tuple[str, list[Caller]]:
    held = []
    for _ in range(64):
        try:
            held.append(Caller(dial_as(GREEDY, daemon.socket)))
        except (OSError, EOFError):
            break
    return f"{len(held)} of 64 connections", held


def fill_offers(daemon: Daemon, **sizes: int) -> tuple[str, list[Caller]]:
    held = []
    for number in range(40):
        caller = Caller(dial_as(GREEDY, daemon.socket))
        job = Submission.of(HELLO + b"\0\2\1" + bytes([number]), stdin=os.urandom(8))
        own = job.sizes
        given = {name: getattr(own, name) for name in ("module", "args", "env", "stdin")} | sizes
        caller.submit(job, sizes=Uploads(**given))
        if not isinstance(caller.receive(), Offered):
            break
        caller.upload(job, 1)
        held.append(caller)
    return f"{len(held)} offers, of one byte each", held


def fill_modules(daemon: Daemon) -> tuple[str, list[Caller]]:
    return fill_offers(daemon, module=8 << 20)


def fill_bytes(daemon: Daemon) -> tuple[str, list[Caller]]:
    limits = Limits(gas=10**12, memory_bytes=1 << 20, output_bytes=4 << 20)
    kept = 0
    for number in range(24):
        job = Submission.of(writing(bytes([number]) * 60_000, times=64), limits=limits)
        caller = Caller(dial_as(GREEDY, daemon.socket))
        try:
            accept(caller, job, PLENTY)
            result = caller.consume()
        except (AssertionError, EOFError, OSError):
            break
        if result is not None and result.status.outcome == "exited":
            kept += result.status.stdout_bytes
    return f"{kept / 1e6:.0f} MB of 50 in results", []


def fill_compilers(daemon: Daemon) -> tuple[str, list[Caller]]:
    """Modules that take the compiler its 5 s: calls, one after the other."""
    bomb = starting(
        " ".join(["(drop (call $f (i32.const 1)))"] * 400_000),
        "(func $f (param i32) (result i32) local.get 0)",
    )
    held = []
    for _ in range(8):
        caller = Caller(dial_as(GREEDY, daemon.socket))
        job = Submission.of(bomb)
        caller.submit(job)
        if isinstance(caller.receive(), Offered):
            threading.Thread(target=caller.upload, args=(job,), daemon=True).start()
        held.append(caller)
    time.sleep(2)
    return "8 modules that compile for long", held


_VECTORS = "".join(f"\\00\\{0x10:02x}\\00\\00\\01\\00\\00\\00" for _ in range(500))
_BYTE_BY_BYTE = starting(
    "(loop $again (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 500) (i32.const 8000))) (br $again))",
    function("fd_write", "i32 i32 i32 i32"),
    f'(data (i32.const 0) "{_VECTORS}")',
)


def fill_outputs(daemon: Daemon) -> tuple[str, list[Caller]]:
    """Jobs that write a byte at a time, for ever."""
    limits = Limits(gas=10**14, memory_bytes=1 << 20, output_bytes=1 << 30)
    held = []
    for number in range(2):
        caller = Caller(dial_as(GREEDY, daemon.socket))
        accept(caller, Submission.of(_BYTE_BY_BYTE, stdin=bytes([number]), limits=limits, wall_time_s=60))
        held.append(caller)
    time.sleep(2)
    return "2 jobs that write byte by byte", held


KINDS: dict[str, tuple[Callable[[Daemon], tuple[str, list[Caller]]], tuple[str, ...]]] = {
    "connections": (fill_connections, ("transport.local.max_connections=32",)),
    "offers": (fill_offers, ("queue.offers=32", "queue.offers_per_client=32")),
    "module room": (fill_modules, ("storage.module_bytes=67108864",)),
    "job bytes": (fill_bytes, ("storage.job_bytes=50331648",)),
    "compilers": (fill_compilers, ("admission.cpu_s=5",)),
    "output storm": (fill_outputs, ("limits.cpu=4",)),
}


def cpu_s(daemon: Daemon) -> float:
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def another_user(daemon: Daemon) -> str:
    """Hand a job in as another user, and say after how long it was accepted."""
    began = time.monotonic()
    try:
        sock = dial_as(OTHER, daemon.socket)
        sock.settimeout(_PATIENCE_S)
        caller = Caller(sock)
        job = Submission.of(HELLO, stdin=b"abc")
        caller.submit(job)
        said = caller.receive()
        if not isinstance(said, Offered):
            return "refused"
        caller.upload(job)
        caller.expect(Accepted)
    except (OSError, EOFError, AssertionError):
        return "nothing"
    return f"{time.monotonic() - began:.2f} s"


def ten_clients(daemon: Daemon) -> str:
    """Run a job for each of ten clients, and say how many got their result, and the longest time."""
    took: list[float] = []

    def run(number: int) -> None:
        began = time.monotonic()
        Client().run(HELLO, stdin=b"%d" % number, timeout_s=_PATIENCE_S)
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    threading.excepthook = lambda _: None  # which of them failed is told by what they took
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{len(took)} of 10" + (f", {max(took):.2f} s" if took else "")


def main() -> None:
    head = f"{'kind':14}{'one user holds':36}{'another user':>14}{'ten clients':>20}{'cpu of plasmd':>15}"
    sys.stdout.write(head + "\n")
    for kind, (fill, settings) in KINDS.items():
        with tempfile.TemporaryDirectory() as home:
            given = [
                item for setting in ('transport.local.mode="0666"', *settings) for item in ("--set", setting)
            ]
            with Daemon(Path(home), *given) as daemon:
                daemon.start()
                daemon.socket.parent.chmod(0o755)
                os.environ["PLASM_SOCKET"] = str(daemon.socket)
                found, held = fill(daemon)
                began, used_s = time.monotonic(), cpu_s(daemon)
                other, ten = another_user(daemon), ten_clients(daemon)
                share = (cpu_s(daemon) - used_s) / (time.monotonic() - began)
                sys.stdout.write(f"{kind:14}{found:36}{other:>14}{ten:>20}{share:>14.0%}\n")
                sys.stdout.flush()
                for caller in held:
                    caller.sock.close()


if __name__ == "__main__":
    main()
