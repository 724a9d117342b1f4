"""Many connections, one after the other and at once, leave a node as it was. The benchmark's long form is 1,000."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "libp2p_connections.py"
PEERS = 25


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_connections_that_came_and_went_leave_nothing(transport: str) -> None:
    command = [sys.executable, str(BENCHMARK), "--json", "--connections", "16", "--keys", "8"]
    command += ["--peers", str(PEERS), *(["--quic"] if transport == "quic" else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    first, *after, connected, talking, gone = json.loads(done.stdout)

    assert [row["tasks"] for row in (*after, gone)] == [first["tasks"]] * 5
    assert [row["descriptors"] for row in (*after, gone)] == [first["descriptors"]] * 5
    assert connected["tasks"] >= first["tasks"] + PEERS
    assert talking["tasks"] == connected["tasks"]
    assert gone["memory_kib"] - first["memory_kib"] < 12 * 1024
