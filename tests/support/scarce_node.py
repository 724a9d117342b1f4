"""A node that may open few files: `python -m tests.support.scarce_node DIRECTORY FILES` runs jobs and says how they ended.

It prints, as JSON, how often each thing happened, and how many processes were left unreaped before and after closing.
"""

from __future__ import annotations

import collections
import json
import os
import resource
import sys
import threading
from pathlib import Path

from plasm_core.errors import SandboxError
from tests.support import processes
from tests.support.lab import open_lab

THREADS, JOBS = 8, 12


def main(directory: Path, files: int) -> None:
    """Run jobs on the hostile engine from several threads."""
    ends: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()
    with open_lab(directory) as lab:
        program = lab.hostile()
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        def work() -> None:
            for _ in range(JOBS):
                try:
                    end = str(lab.run(program, args=["process"], stdin=b"input").outcome)
                except SandboxError:
                    end = "SandboxError"
                except Exception as exc:
                    end = f"{type(exc).__name__}: {exc}"
                with lock:
                    ends[end] += 1

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        zombies = len(processes.zombies(os.getpid()))
    json.dump({"ends": ends, "zombies": zombies, "left": len(processes.children(os.getpid()))}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
