"""A batch over several nodes: one is killed and one stops in its midst, and every result comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.batch.test_map import ended
from tests.network.conftest import LABORATORY, Starter
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.wat import starting

JOBS = 40
SPIN = "(local $left i32) (local.set $left (i32.const 30000000)) (loop (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"


def test_a_batch_survives_the_nodes_that_it_loses(
    start: Starter, bootstrap: str, client: Daemon, tmp_path: Path
) -> None:
    nodes = [start(f"node{number}", "--lend", "--bootstrap", bootstrap) for number in range(3)]
    for node in nodes:
        deadline = time.monotonic() + DEADLINE_S
        while " advertised classes=" not in node.log.read_text():
            assert time.monotonic() < deadline, node.said
            time.sleep(0.02)
    (tmp_path / "spin.wasm").write_bytes(starting(SPIN))
    batch = tmp_path / "b"
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "plasm_core.cli",
                "map",
                str(tmp_path / "spin.wasm"),
                "--range",
                str(JOBS),
            ),
            *("--bootstrap", bootstrap, "--batch", str(batch), *LABORATORY, "--", "{}"),
        ],
        env=client.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + DEADLINE_S
    while ended(batch) < 5 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    nodes[0].kill()
    stopped = nodes[1].process
    assert stopped is not None
    stopped.send_signal(signal.SIGSTOP)

    # That one is stopped is noticed after half a minute; the last does all the rest.
    _, said = process.communicate(timeout=5 * DEADLINE_S)

    assert process.returncode == 0, said.decode()
    assert ended(batch) == JOBS
