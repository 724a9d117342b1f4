"""An engine that ignores its module and does, natively, what a guest that broke out of its engine might do.

It works inside the real worker, zygote and compile processes, and imports the standard library only.
`call("_start")` makes the attempt that the job's first argument names and writes what came of it to stdout, as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from collections.abc import Mapping

from plasm_core.plugins.engine import PAGE_BYTES, Engine, Instance, LoadedModule, Memory
from plasm_core.sandbox.process import confinement, page_pinning
from tests.support.attempts.catalogue import EARLY, action_named, attempts_here
from tests.support.attempts.trying import Result, Results, Whereabouts, set_numbers, try_action

TYPE_CHECKING = False  # as where HostFunction is defined
if TYPE_CHECKING:
    from plasm_core.plugins.engine import HostFunction

_ARGUMENTS, _VECTOR, _TEXT = 64, 8, 65_536
TAKEN_AWAY = "taken away by a test"
ATTEMPT_WHILE_LOADING = b"attempt"
"""The artefact that has the zygote make attempts too."""
STALL_WHILE_LOADING = b"stall"
"""The artefact that is never loaded."""

_pid = 0


class HostileMemory(Memory):
    """A memory of a few pages."""

    def __init__(self) -> None:
        self.bytes = bytearray(64 * PAGE_BYTES)

    def size(self) -> int:
        return len(self.bytes)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.bytes[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data


class HostileInstance(Instance):
    """Calls the host for its arguments and its output, as a guest does, and between them does as it likes."""

    def __init__(self, functions: Mapping[str, tuple[str, str, HostFunction]], loading: Results) -> None:
        self._functions = functions
        self._loading = loading
        self._memory = HostileMemory()
        self._globals: dict[str, int] = {}

    @property
    def memory(self) -> Memory:
        return self._memory

    def get_global(self, name: str) -> int:
        return self._globals.get(name, 0)

    def set_global(self, name: str, value: int) -> None:
        self._globals[name] = value

    def _arguments(self) -> list[str]:
        """Read the job's arguments, without the program's name."""
        self._functions["args_sizes_get"][2](0, 4)
        count, size = struct.unpack_from("<II", self._memory.bytes)
        self._functions["args_get"][2](_ARGUMENTS, _ARGUMENTS + 4 * count)
        text = self._memory.read(_ARGUMENTS + 4 * count, size)
        return [item.decode() for item in text.split(b"\0")[1:-1]]

    def _write(self, data: bytes) -> None:
        self._memory.write(_TEXT, data)
        self._memory.write(_VECTOR, struct.pack("<II", _TEXT, len(data)))
        self._functions["fd_write"][2](1, _VECTOR, 1, 0)

    def call(self, name: str) -> None:
        if name != "_start":
            return
        what, *pids = self._arguments()
        result: Result
        if what == "process":
            result = {"errno": None, "detail": _pid}  # which it may not ask for any more
        elif what == "loading":
            result = {"errno": None, "detail": self._loading}
        else:
            result = try_action(action_named(what), Whereabouts(*map(int, pids)))
        self._write(json.dumps(result).encode())


class HostileModule(LoadedModule):
    """A module that nobody reads, and what came of the attempts that were made while it was loaded."""

    def __init__(self, loading: Results) -> None:
        self._loading = loading

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        return HostileInstance(functions, self._loading)


def _refuse(*_arguments: object) -> None:
    raise OSError(errno.ENOSYS, TAKEN_AWAY)


_limit_resources = confinement.limit_resources


def _limit_and_ask(*, cpu_s: int, memory_bytes: int) -> None:
    """Limit resources, which is what a worker does last before it loses the right to ask who it is."""
    global _pid
    _pid = os.getpid()
    _limit_resources(cpu_s=cpu_s, memory_bytes=memory_bytes)


_LAYER_FUNCTIONS = {
    "namespaces": "_leave_namespaces",
    "landlock": "_deny_files",
    "unprivileged_uid": "_become",
}


class HostileEngine(Engine):
    """`numbers`: of system calls, by name. `without`: layers that this process is to find missing."""

    def __init__(self, *, numbers: dict[str, int], without: list[str]) -> None:
        set_numbers(numbers)
        confinement.limit_resources = _limit_and_ask
        for layer in without:
            if layer in _LAYER_FUNCTIONS:
                setattr(confinement, _LAYER_FUNCTIONS[layer], _refuse)
            elif layer == "pinning":
                page_pinning.Pins.prepare = lambda self: False  # type: ignore[method-assign]
            elif layer == "rlimits":
                confinement.limit = lambda kind, value: None

    def compile(self, module: bytes) -> bytes:
        """Make every attempt, as a compiler that was taken over might, and hand the results on as the artefact."""
        return json.dumps(attempts_here(EARLY)).encode()

    def load(self, artefact: bytes) -> LoadedModule:
        """Make the attempts in the zygote, if told to, or wait until this process is killed."""
        while artefact == STALL_WHILE_LOADING:
            time.sleep(60)
        return HostileModule(attempts_here(EARLY) if artefact == ATTEMPT_WHILE_LOADING else {})


class HostileValidator:
    """Makes the attempts of the child that validates, and refuses the module with the results."""

    def __init__(self, *, numbers: dict[str, int]) -> None:
        set_numbers(numbers)

    def validate(self, module: bytes) -> None:
        """Raise ValueError with the results."""
        raise ValueError(json.dumps(attempts_here(EARLY)))
