"""A module of 50 MB, and 50 MB of output, pass within a bounded memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.large_jobs import peak_bytes, run
from tests.support.daemon import Daemon
from tests.support.large import heavy, writer

SIZE_BYTES = 50 << 20
MIB = 1 << 20


def test_a_large_module_and_a_large_output_take_bounded_memory(tmp_path: Path) -> None:
    """The numbers of a quiet run are in benchmarks/results/large-jobs.txt: about half of these bounds."""
    large, wordy = tmp_path / "large.wasm", tmp_path / "wordy.wasm"
    large.write_bytes(heavy(SIZE_BYTES))
    wordy.write_bytes(writer(SIZE_BYTES))
    with Daemon(tmp_path) as daemon:
        daemon.start()
        assert daemon.process is not None
        _, client_writing, output = run(daemon, wordy)
        writing = peak_bytes(daemon.process.pid)
        _, client_loading, _ = run(daemon, large)
        loading = peak_bytes(daemon.process.pid)
        kept = daemon.state / "modules" / hashlib.sha256(large.read_bytes()).hexdigest()[:2]

        assert [path.stat().st_size for path in kept.iterdir()] == [large.stat().st_size]
    assert output == SIZE_BYTES
    assert max(client_writing, client_loading) < 96 * MIB
    assert writing < 128 * MIB
    assert loading < 4 * SIZE_BYTES
