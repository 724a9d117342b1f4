"""Stand-ins for an engine's side of the host: a memory that is strict about its bounds, and a journal of what
was done in which order.
"""

from __future__ import annotations

import attrs

from plasm_core.plugins.engine import Instance, Memory


@attrs.frozen
class Step:
    """One recorded action. `what`: charge, read, write, stdin or output. `count`: its gas or bytes."""

    what: str
    count: int


class FakeMemory(Memory):
    """A small memory. An access out of bounds fails the test."""

    def __init__(self, size: int, journal: list[Step]) -> None:
        self.data = bytearray(size)
        self._journal = journal

    def size(self) -> int:
        return len(self.data)

    def _check(self, offset: int, length: int) -> None:
        assert 0 <= offset <= offset + length <= len(self.data), f"{length} bytes at {offset} lie outside"

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        self._journal.append(Step("read", length))
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._check(offset, len(data))
        self._journal.append(Step("write", len(data)))
        self.data[offset : offset + len(data)] = data


class FakeInstance(Instance):
    """An instance without code: a memory, and the gas counter as its one global. An increase of gas fails the test."""

    def __init__(self, *, gas: int, memory_bytes: int = 1 << 16, gas_global: str = "gas") -> None:
        self.journal: list[Step] = []
        self.gas = gas
        self._gas_global = gas_global
        self._memory = FakeMemory(memory_bytes, self.journal)

    @property
    def memory(self) -> FakeMemory:
        return self._memory

    def get_global(self, name: str) -> int:
        assert name == self._gas_global
        return self.gas

    def set_global(self, name: str, value: int) -> None:
        assert name == self._gas_global
        assert -(2**63) <= value <= self.gas, "gas was given back"
        self.journal.append(Step("charge", self.gas - value))
        self.gas = value

    def call(self, name: str) -> None:
        raise AssertionError("a fake instance has no code")


class FakeStdin:
    """Standard input with given bytes. Each read returns only a few of them."""

    def __init__(self, data: bytes, journal: list[Step]) -> None:
        self._left = data
        self._journal = journal

    def read(self, count: int) -> bytes:
        assert 0 < count <= len(self._left), "more was read than is left"
        count = min(count, 7)
        self._journal.append(Step("stdin", count))
        data, self._left = self._left[:count], self._left[count:]
        return data

    def remaining(self) -> int:
        return len(self._left)


class FakeOutput:
    """Stores the output of a guest."""

    def __init__(self, journal: list[Step]) -> None:
        self.streams = {1: b"", 2: b""}
        self._journal = journal

    def __call__(self, stream: int, data: bytes) -> None:
        self._journal.append(Step("output", len(data)))
        self.streams[stream] += data
