"""Run a program many times by another queue, for benchmarks/end_to_end.py. Print seconds in all, and of each, as JSON.

    python benchmarks/end_to_end_others.py huey PROGRAM WORD COUNT IN_FLIGHT DIRECTORY

huey keeps its tasks in SQLite with fsync; two threads of its consumer spawn the program. dask.distributed keeps
nothing; two workers of a thread each spawn it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

WORKERS = 2
_WARM = 40


def measured(call: Callable[[], object], count: int, in_flight: int) -> tuple[float, list[float]]:
    """Call so often from so many threads. Return seconds in all, and those of each call."""
    times: list[float] = []
    turns = itertools.count()

    def work() -> None:
        while next(turns) < count:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, times


def spawn(program: str, word: str) -> bytes:
    """Run the program, and return its output."""
    return subprocess.run([program, word], capture_output=True, check=True).stdout


def by_huey(
    program: str, word: str, count: int, in_flight: int, directory: Path
) -> tuple[float, list[float]]:
    """Hand the program out by huey."""
    from huey import SqliteHuey

    queue = SqliteHuey(filename=str(directory / f"huey{in_flight}.db"), fsync=True, immediate=False)
    task = queue.task()(spawn)
    consumer = queue.create_consumer(
        workers=WORKERS, worker_type="thread", initial_delay=0.001, max_delay=0.01
    )
    consumer.start()

    def call() -> None:
        assert task(program, word).get(blocking=True, timeout=60, backoff=1, max_delay=0.002)

    try:
        measured(call, _WARM, in_flight)
        return measured(call, count, in_flight)
    finally:
        consumer.stop(graceful=True)


def by_dask(
    program: str, word: str, count: int, in_flight: int, directory: Path
) -> tuple[float, list[float]]:
    """Hand the program out by dask.distributed."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(directory),
        ) as cluster,
        Client(cluster) as client,
    ):

        def call() -> None:
            assert client.submit(spawn, program, word, pure=False).result(timeout=60)

        measured(call, _WARM, in_flight)
        return measured(call, count, in_flight)


def main() -> None:
    name, program, word, count, in_flight, directory = sys.argv[1:]
    way = {"huey": by_huey, "dask": by_dask}[name]
    sys.stdout.write(json.dumps(way(program, word, int(count), int(in_flight), Path(directory))))


if __name__ == "__main__":
    main()
