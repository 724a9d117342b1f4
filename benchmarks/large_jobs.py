"""Measure a large module and a large output over a daemon's Unix socket: `python benchmarks/large_jobs.py`.

Printed are times, and the greatest memory (VmHWM) of the daemon and of the client, each job in a client of
its own. The module is data segments mostly: as much code would compile for minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.support.daemon import Daemon  # noqa: E402
from tests.support.large import heavy, writer  # noqa: E402

_CLIENT = """
import sys, time
from pathlib import Path
from plasm_core.client import Client
from plasm_core.client.output import Nowhere
from plasm_core.records import Limits
limits = Limits(gas=10**12, memory_bytes=256 << 20, output_bytes=256 << 20)
began = time.monotonic()
result = Client().run(Path(sys.argv[1]), sink=Nowhere(), limits=limits, timeout_s=600)
took = time.monotonic() - began
assert result.receipt.result.outcome.ok, result.receipt.result.outcome
status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
print(took, int(peak) << 10, result.receipt.result.stdout_bytes)
"""


def peak_bytes(pid: int) -> int:
    """Return the greatest resident memory a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


def run(daemon: Daemon, module: Path) -> tuple[float, int, int]:
    """Run a job by a client of its own. Return seconds, the client's peak, and the bytes of its output."""
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, str(module)],
        env=daemon.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds, peak, output = done.stdout.split()
    return float(seconds), int(peak), int(output)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=50)
    size = parser.parse_args().mib << 20
    sys.stdout.write(f"{'':34}  seconds  daemon's peak  client's peak\n")
    with tempfile.TemporaryDirectory() as home:
        hello = ROOT / "examples" / "hello" / "hello.wasm"
        large, wordy = Path(home) / "large.wasm", Path(home) / "wordy.wasm"
        large.write_bytes(heavy(size))
        wordy.write_bytes(writer(size))
        for name, modules in (
            ("a small job", [hello]),
            (f"a module of {large.stat().st_size} bytes", [large]),
            ("the same again: possession proved", [large, large]),
            (f"{size} bytes of output", [wordy]),
        ):
            with tempfile.TemporaryDirectory() as directory, Daemon(Path(directory)) as daemon:
                daemon.start()
                assert daemon.process is not None
                began = time.monotonic()
                for module in modules:
                    seconds, client, _ = run(daemon, module)
                assert time.monotonic() > began
                peaks = f"{peak_bytes(daemon.process.pid) >> 20:>9} MiB {client >> 20:>10} MiB"
                sys.stdout.write(f"{name:34} {seconds:>8.1f}  {peaks}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
