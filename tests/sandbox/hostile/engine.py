"""What the runtime `hostile` does in child processes."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from plasm_core.plugins.engine import Engine, EngineFailure, Instance, LoadedModule, Memory

if TYPE_CHECKING:
    from plasm_core.plugins.engine import HostFunction

HANG_S = 4
_DAWDLE_S = 0.2
_MANY_DESCRIPTORS = 64


class NoMemory(Memory):
    def size(self) -> int:
        return 0

    def read(self, offset: int, length: int) -> bytes:
        return bytes(length)

    def write(self, offset: int, data: bytes) -> None:
        pass


class HostileInstance(Instance):
    """Runs no guest: calling it sends the payload to the process that listens."""

    def __init__(self, payload: bytes, then: str) -> None:
        self._payload = payload
        self._then = then

    @property
    def memory(self) -> Memory:
        return NoMemory()

    def get_global(self, name: str) -> int:
        return 0

    def set_global(self, name: str, value: int) -> None:
        pass

    def call(self, name: str) -> None:
        if self._then == "dawdle":
            time.sleep(_DAWDLE_S)
        # A guest that has taken over its process does not know which descriptor leads to the daemon, either.
        for fd in range(3, _MANY_DESCRIPTORS) if self._payload else ():
            try:
                os.write(fd, self._payload)
            except OSError:
                continue
        if self._then == "hang":
            time.sleep(HANG_S)
        elif self._then == "dawdle":
            time.sleep(_DAWDLE_S)
        elif self._then == "exit":
            os._exit(0)
        elif self._then == "crash":
            ctypes.string_at(0)
        elif self._then == "raise":
            raise RuntimeError("an engine's bug")
        elif self._then == "fail":
            raise EngineFailure("it broke\n\x1b[31m" + 2_000 * "!")


class HostileModule(LoadedModule):
    def __init__(self, payload: bytes, then: str) -> None:
        self._payload = payload
        self._then = then

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        return HostileInstance(self._payload, self._then)


class HostileEngine(Engine):
    def __init__(self, *, compiling: str, payload: str, then: str) -> None:
        self._compiling = compiling
        self._payload = bytes.fromhex(payload)
        self._then = then

    def compile(self, module: bytes) -> bytes:
        how = self._compiling
        if how == "abort":
            os.abort()
        elif how == "crash":
            ctypes.string_at(0)
        elif how == "exit":
            os._exit(1)
        elif how == "raise":
            raise RuntimeError("an engine's bug")
        elif how == "fail":
            raise EngineFailure("it has no such instruction")
        elif how == "spin":
            while True:
                pass
        elif how == "eat":
            hoard = []
            while True:
                hoard.append(bytearray(16 << 20))
        return b"artefact"

    def load(self, artefact: bytes) -> LoadedModule:
        return HostileModule(self._payload, self._then)
