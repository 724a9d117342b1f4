"""A node with many jobs that never end, to be killed. `python -m tests.support.busy_node DIRECTORY JOBS RUNTIME`.

It writes one line to stdout once all jobs run.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from tests.support.lab import open_lab
from tests.support.wat import FOREVER, writing


def main(directory: Path, jobs: int, runtime: str) -> None:
    """Run the jobs until killed."""
    running = threading.Semaphore(0)
    with open_lab(directory) as lab:
        program = lab.admit(
            writing(b"running", then=FOREVER),
            loading.create(Runtime, runtime, {}),  # type: ignore[type-abstract]
        )

        def work() -> None:
            lab.run(program, wall_time_s=3_600, output=lambda _stream, _data: running.release())

        for _ in range(jobs):
            threading.Thread(target=work).start()
        for _ in range(jobs):
            running.acquire()
        sys.stdout.write("all run\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
