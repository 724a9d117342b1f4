"""Look at the processes of this machine, through /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Process:
    """A process, as its `stat` tells. `state` is a letter, of which Z is a zombie; `started`: in ticks since the boot."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    started: int


def look(pid: int) -> Process | None:
    """Return a process, or None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    name = head.partition("(")[2]
    parent, group, started = (int(fields[number]) for number in (1, 2, 19))
    return Process(pid=pid, name=name, state=fields[0], parent=parent, group=group, started=started)


def everybody() -> list[Process]:
    """Return all processes."""
    found = (look(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [process for process in found if process is not None]


def children(pid: int) -> list[Process]:
    """Return the processes whose parent a process is, zombies among them."""
    return [process for process in everybody() if process.parent == pid]


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and those that they started, dead ones left out."""
    parents = {process.pid: process.parent for process in everybody() if process.state not in "ZX"}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    process = look(pid)
    return process is not None and process.state not in "ZX"


def zombies(parent: int) -> list[int]:
    """Return the processes that have ended and that their parent has not reaped."""
    return [process.pid for process in children(parent) if process.state == "Z"]


def zygotes(daemon: int) -> list[int]:
    """Return a daemon's zygotes: children that lead a group of their own."""
    return [
        process.pid
        for process in children(daemon)
        if process.group == process.pid and process.state not in "ZX"
    ]


def workers(daemon: int) -> list[int]:
    """Return the workers of a daemon's zygotes, busy or idle, oldest first: its children in their groups."""
    groups = set(zygotes(daemon))
    found = [
        process
        for process in children(daemon)
        if process.group in groups - {process.pid} and process.state not in "ZX"
    ]
    forked = {pid: number for number, pid in enumerate(_forked(daemon))}
    # Not by their ids, which begin again at the lowest.
    found.sort(key=lambda process: (process.started, forked.get(process.pid, len(forked))))
    return [process.pid for process in found]


def _forked(parent: int) -> list[int]:
    """Return the children of a process, those of each of its threads in the order in which they were made."""
    found = []
    for task in os.listdir(f"/proc/{parent}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            found += Path(f"/proc/{parent}/task/{task}/children").read_text().split()
    return [int(pid) for pid in found]


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process has open, by descriptor."""
    directory = f"/proc/{pid}/fd"
    found = {}
    for name in os.listdir(directory):
        try:
            found[int(name)] = os.readlink(f"{directory}/{name}")
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def sockets(pid: int) -> list[str]:
    """Return the sockets that a process has open."""
    return [name for name in descriptors(pid).values() if name.startswith("socket:")]


def resident_bytes(pid: int) -> int:
    """Return how much of a process is in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10) -> bool:
    """Wait for a condition. Return whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def gone(pid: int) -> bool:
    """Return whether a process has ended and was reaped."""
    return look(pid) is None
