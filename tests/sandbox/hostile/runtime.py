"""The runtime `hostile`: an engine that lies, dies or hangs as it is told."""

from __future__ import annotations

from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Runtime


@attrs.frozen(kw_only=True)
class HostileRuntime(Runtime):
    """`compiling`: what compiling does. `payload`: what its workers send, in hexadecimal, and `then` do."""

    name: ClassVar[str] = "hostile"
    entry: ClassVar[str] = "tests.sandbox.hostile.engine:HostileEngine"
    features: ClassVar[frozenset[str]] = frozenset({"bulk-memory"})

    compiling: str = "work"
    payload: str = ""
    then: str = "return"

    def version(self) -> str:
        return "1"

    def options(self) -> dict[str, object]:
        return {"compiling": self.compiling, "payload": self.payload, "then": self.then}


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [HostileRuntime]
