"""Where a followed job's output goes."""

from __future__ import annotations

import hashlib
import io
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO

from plasm_core.errors import PlasmError
from plasm_core.scratch import scratch_file
from plasm_core.wire.frames import OUTPUTS, Channel

_MEMORY_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20


class Sink(ABC):
    """Takes output as it comes. It is called in a thread, so it may take its time."""

    @abstractmethod
    def write(self, channel: Channel, data: bytes) -> None:
        """Take the next bytes of stdout or stderr."""

    @abstractmethod
    def restart(self) -> None:
        """Expect both outputs from the beginning: the node runs the job anew, or another does."""

    def settle(self) -> None:  # noqa: B027 - most need not know
        """Take note that the job has ended, and that there is no more output."""


class Nowhere(Sink):
    """Forgets what it is given."""

    def write(self, channel: Channel, data: bytes) -> None:
        pass

    def restart(self) -> None:
        pass


class Buffer(Sink):
    """Keeps both outputs: small ones in memory, large ones in unnamed files, up to a limit for each."""

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._files: dict[Channel, IO[bytes]] = {channel: io.BytesIO() for channel in OUTPUTS}

    def write(self, channel: Channel, data: bytes) -> None:
        file = self._files[channel]
        if file.tell() + len(data) > self._maximum_bytes:
            raise PlasmError(f"{channel.label} has more than {self._maximum_bytes} bytes")
        if isinstance(file, io.BytesIO) and file.tell() + len(data) > _MEMORY_BYTES:
            file = self._spill(channel, file)
        file.write(data)

    def _spill(self, channel: Channel, small: io.BytesIO) -> IO[bytes]:
        """Go on in an unnamed file. Raises: `StorageError`."""
        file = scratch_file()
        file.write(small.getvalue())
        self._files[channel] = file
        return file

    def restart(self) -> None:
        for file in self._files.values():
            file.seek(0)
            file.truncate()

    def close(self) -> None:
        """Forget both."""
        for file in self._files.values():
            file.close()

    def copy(self, channel: Channel, target: IO[bytes]) -> None:
        """Write an output out, and forget it."""
        with self._files[channel] as file:
            file.seek(0)
            shutil.copyfileobj(file, target)
        target.flush()

    def take(self, channel: Channel) -> bytes:
        """Return an output, and forget it."""
        with self._files[channel] as file:
            file.seek(0)
            return file.read()


class Live(Sink):
    """Passes each byte on once, however often the job is started: for those who watch.

    What it shows is not verified. What another attempt brings again is compared with what was shown and left out
    if it is the same. If it is not, `differs` is told of the output whose earlier bytes came from a failed
    attempt, and the new attempt is shown from its beginning.
    """

    def __init__(
        self,
        show: Callable[[Channel, bytes], None],
        differs: Callable[[Channel], None] = lambda _channel: None,
    ) -> None:
        self._show = show
        self._differs = differs
        self._outputs = {channel: _Shown() for channel in OUTPUTS}

    def write(self, channel: Channel, data: bytes) -> None:
        output = self._outputs[channel]
        if output.again is not None:
            wanted = output.size - output.again.tell()
            output.again.write(data[:wanted])
            output.compared.update(data[:wanted])
            if output.again.tell() < output.size:
                return
            self._settle(channel)
            data = data[wanted:]
        if data:
            self._pass_on(channel, data)

    def restart(self) -> None:
        for output in self._outputs.values():
            output.begin_again()

    def settle(self) -> None:
        for channel, output in self._outputs.items():
            if output.again is not None:
                self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        output = self._outputs[channel]
        again, output.again = output.again, None
        assert again is not None
        with again:
            if again.tell() == output.size and output.compared.digest() == output.sha256.digest():
                return
            output.size, output.sha256 = 0, hashlib.sha256()
            self._differs(channel)
            again.seek(0)
            while data := again.read(_CHUNK_BYTES):
                self._pass_on(channel, data)

    def _pass_on(self, channel: Channel, data: bytes) -> None:
        output = self._outputs[channel]
        output.size += len(data)
        output.sha256.update(data)
        self._show(channel, data)


class _Shown:
    """What was shown of one output, and what an attempt after it has brought again so far."""

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
    """Passes output on and takes its digests, which the receipt must name."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._sha256 = {channel: hashlib.sha256() for channel in OUTPUTS}
        self._size_bytes = dict.fromkeys(OUTPUTS, 0)

    def write(self, channel: Channel, data: bytes) -> None:
        self._sha256[channel].update(data)
        self._size_bytes[channel] += len(data)
        self._sink.write(channel, data)

    def restart(self) -> None:
        self._sha256 = {channel: hashlib.sha256() for channel in OUTPUTS}
        self._size_bytes = dict.fromkeys(OUTPUTS, 0)
        self._sink.restart()

    def settle(self) -> None:
        self._sink.settle()

    def digest(self, channel: Channel) -> str:
        """Return the SHA-256 of what came of an output since the last start, in hexadecimal."""
        return self._sha256[channel].hexdigest()

    def size_bytes(self, channel: Channel) -> int:
        """Return how many bytes of an output came since the last start."""
        return self._size_bytes[channel]
