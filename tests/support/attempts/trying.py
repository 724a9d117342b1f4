"""System calls by name, and the list that attempts are put on."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from ctypes import c_long
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = c_long
numbers: dict[str, int] = {}


CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000


class Absent(Exception):
    """The attempt cannot be made on this processor."""


class Whereabouts:
    """The processes an attempt may be aimed at, by process id."""

    def __init__(self, daemon: int = 1, sibling: int = 1) -> None:
        self.daemon = daemon
        self.sibling = sibling


Action = Callable[[Whereabouts], object]


class Attempt:
    """One attempt. It raises OSError if it is denied, and otherwise returns what it got.

    `control` tells whom it succeeds for where nothing is denied: `anyone`, `root`, or `none` if that
    cannot be tried.
    """

    def __init__(self, action: Action, control: str) -> None:
        self.action = action
        self.control = control


ATTEMPTS: dict[str, Attempt] = {}


def attempt(control: str = "anyone") -> Callable[[Action], Action]:
    def register(action: Action) -> Action:
        ATTEMPTS[action.__name__] = Attempt(action, control)
        return action

    return register


def raw(name: str, *arguments: Any) -> int:
    """Make a system call by its name. Raises: OSError; `Absent`."""
    number = numbers.get(name, -1)
    if number < 0:
        raise Absent(name)
    return raw_number(number, *arguments)


def raw_number(number: int, *arguments: Any) -> int:
    """Make a system call by its number. Raises: OSError."""
    values = [c_long(item) if isinstance(item, int) else item for item in arguments]
    result = int(libc.syscall(c_long(number), *values))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


Result = dict[str, object]
Results = dict[str, Result]


def try_action(action: Action, where: Whereabouts) -> Result:
    """Try something. Return `errno`, a name, or null if it succeeded, and `detail`."""
    try:
        detail: object = action(where)
    except OSError as exc:
        return {"errno": errno.errorcode.get(exc.errno or 0, str(exc.errno)), "detail": str(exc)}
    except Absent as exc:
        return {"errno": "absent", "detail": f"this processor has no {exc}"}
    except Exception as exc:
        return {"errno": type(exc).__name__, "detail": str(exc)}
    return {"errno": None, "detail": detail}


def set_numbers(known: Mapping[str, int]) -> None:
    """Give the system calls their numbers on this processor."""
    numbers.update(known)
