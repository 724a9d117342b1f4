"""The cold start of commands, for benchmarks/end_to_end.py: processor time beside that of `python -c pass`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PYTHON = "python -c pass"
GOALS = {"plasm --help": 5, "plasm run hello": 12, "plasm submit hello": 10}
"""How many times the processor time of `PYTHON` each command may take."""


def cold_starts(hello: Path, word: str, rounds: int) -> dict[str, float]:
    """Return the median processor time of each command in milliseconds, its children included.

    The commands take turns. `PLASM_SOCKET` names the daemon that `plasm submit` reaches.
    """
    plasm = [sys.executable, "-m", "plasm_core.cli"]
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        "plasm --help": [*plasm, "--help"],
        "plasm run hello": [*plasm, "run", str(hello), word],
        "plasm submit hello": [*plasm, "submit", str(hello), word],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took_ms = _processor_ms(command)
            if number:  # the first start of each reads the disk, and compiles the module
                times[name].append(took_ms)
    return {name: statistics.median(found) for name, found in times.items()}


def _processor_ms(command: Sequence[str]) -> float:
    """Run a command. Return its processor time, and that of the children it waited for."""
    # Where Python is told to keep no compiled modules, each start would compile them all.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def goals_met(found: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Return a measure, its goal and the value for each command."""
    return [
        (f"{name} / {PYTHON}, processor time", f"<= {goal}", found[name] / found[PYTHON])
        for name, goal in GOALS.items()
        if name in found
    ]
