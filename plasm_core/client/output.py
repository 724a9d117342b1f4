"""Sinks for the output of a followed job: memory, a file, or the caller's own."""

from __future__ import annotations

import hashlib
import io
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO

from plasm_core.errors import PlasmError
from plasm_core.protocol.channels import MAX_DATA_BYTES
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.scratch_file import scratch_file

_MEMORY_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20


class Sink(ABC):
    """Receives a job's output as it arrives. Its methods are called in a thread, so they may block, unless it is `in_memory`."""

    @property
    def in_memory(self) -> bool:
        """Whether the next call copies at most one frame in memory. Such a call is made in the event loop."""
        return False

    @abstractmethod
    def write(self, stream: OutputStream, data: bytes) -> None:
        """Receive the next bytes of stdout or stderr."""

    @abstractmethod
    def restart(self) -> None:
        """Discard both outputs: a new attempt has started, on this node or another, and sends them from the beginning."""

    def settle(self) -> None:  # noqa: B027 - most need not know
        """The job has ended, and no more output will come."""


async def call_sink(sink: Sink, method: Callable[..., None], *arguments: object) -> None:
    """Call a method of a sink: in a thread, unless the sink is in memory. Raises: what the method raises."""
    if sink.in_memory:
        method(*arguments)
    else:
        import trio  # only here: a run on this machine needs no event loop

        await trio.to_thread.run_sync(method, *arguments)


class Nowhere(Sink):
    """Discards all output."""

    @property
    def in_memory(self) -> bool:
        return True

    def write(self, stream: OutputStream, data: bytes) -> None:
        pass

    def restart(self) -> None:
        pass


class Buffer(Sink):
    """Stores both outputs: small ones in memory, large ones in unnamed files, each up to `maximum_bytes`."""

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._files: dict[OutputStream, IO[bytes]] = {stream: io.BytesIO() for stream in OutputStream}

    @property
    def in_memory(self) -> bool:
        return all(
            isinstance(file, io.BytesIO) and file.tell() + MAX_DATA_BYTES <= _MEMORY_BYTES
            for file in self._files.values()
        )

    def write(self, stream: OutputStream, data: bytes) -> None:
        file = self._files[stream]
        if file.tell() + len(data) > self._maximum_bytes:
            raise PlasmError(f"{stream.label} has more than {self._maximum_bytes} bytes")
        if isinstance(file, io.BytesIO) and file.tell() + len(data) > _MEMORY_BYTES:
            file = self._spill(stream, file)
        file.write(data)

    def _spill(self, stream: OutputStream, small: io.BytesIO) -> IO[bytes]:
        """Go on in an unnamed file. Raises: `StorageError`."""
        file = scratch_file()
        file.write(small.getvalue())
        self._files[stream] = file
        return file

    def restart(self) -> None:
        for file in self._files.values():
            file.seek(0)
            file.truncate()

    def close(self) -> None:
        """Free both outputs."""
        for file in self._files.values():
            file.close()

    def copy(self, stream: OutputStream, target: IO[bytes]) -> None:
        """Write an output to a file, and free it."""
        with self._files[stream] as file:
            file.seek(0)
            shutil.copyfileobj(file, target)
        target.flush()

    def tail(self, stream: OutputStream, size_bytes: int) -> bytes:
        """Return the last bytes of an output, fewer if it is shorter."""
        file = self._files[stream]
        file.seek(max(0, file.tell() - size_bytes))
        return file.read(size_bytes)

    def size_bytes(self, stream: OutputStream) -> int:
        """Return how long an output is."""
        return self._files[stream].tell()

    def take(self, stream: OutputStream) -> bytes:
        """Return an output, and free it."""
        with self._files[stream] as file:
            file.seek(0)
            return file.read()


class Live(Sink):
    """Passes each byte of output on once, although several attempts may send it. The output is not verified.

    The output of another attempt is compared with the bytes that were shown, and equal bytes are left out. If they
    differ, `differs` is called with the output, and the new attempt is shown from its beginning.
    """

    def __init__(
        self,
        show: Callable[[OutputStream, bytes], None],
        differs: Callable[[OutputStream], None] = lambda _stream: None,
    ) -> None:
        self._show = show
        self._differs = differs
        self._outputs = {stream: _Shown() for stream in OutputStream}

    def write(self, stream: OutputStream, data: bytes) -> None:
        output = self._outputs[stream]
        if output.again is not None:
            wanted = output.size - output.again.tell()
            output.again.write(data[:wanted])
            output.compared.update(data[:wanted])
            if output.again.tell() < output.size:
                return
            self._settle(stream)
            data = data[wanted:]
        if data:
            self._pass_on(stream, data)

    def restart(self) -> None:
        for output in self._outputs.values():
            output.begin_again()

    def settle(self) -> None:
        for stream, output in self._outputs.items():
            if output.again is not None:
                self._settle(stream)

    def _settle(self, stream: OutputStream) -> None:
        output = self._outputs[stream]
        again, output.again = output.again, None
        assert again is not None
        with again:
            if again.tell() == output.size and output.compared.digest() == output.sha256.digest():
                return
            output.size, output.sha256 = 0, hashlib.sha256()
            self._differs(stream)
            again.seek(0)
            while data := again.read(_CHUNK_BYTES):
                self._pass_on(stream, data)

    def _pass_on(self, stream: OutputStream, data: bytes) -> None:
        output = self._outputs[stream]
        output.size += len(data)
        output.sha256.update(data)
        self._show(stream, data)


class _Shown:
    """How much of one output was shown, and how much of it a later attempt has repeated so far."""

    def __init__(self) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.again: IO[bytes] | None = None
        self.compared = hashlib.sha256()

    def begin_again(self) -> None:
        if self.again is not None:
            self.again.close()
        self.again = None
        if self.size:
            self.again = scratch_file()
        self.compared = hashlib.sha256()


class Digesting(Sink):
    """Passes output on to another sink and computes its digests, which the receipt must contain."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hashers = {stream: OutputHasher() for stream in OutputStream}

    @property
    def in_memory(self) -> bool:
        return self._sink.in_memory

    def write(self, stream: OutputStream, data: bytes) -> None:
        self._hashers[stream].update(data)
        self._sink.write(stream, data)

    def restart(self) -> None:
        self._hashers = {stream: OutputHasher() for stream in OutputStream}
        self._sink.restart()

    def settle(self) -> None:
        self._sink.settle()

    @property
    def digests(self) -> dict[OutputStream, OutputDigest]:
        """Size and SHA-256 of each output since the last `restart`."""
        return {stream: hasher.digest for stream, hasher in self._hashers.items()}
