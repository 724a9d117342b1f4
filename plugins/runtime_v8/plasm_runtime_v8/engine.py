"""V8 as an engine. It runs whole jobs: the WASI host is `wasi.mjs`, since a host function must be JavaScript to return.

The two languages share one buffer. The script fills it and calls `doorbell`; it waits while Python sends the buffer's
bytes to the job's socket, or fills it with standard input.
"""

from __future__ import annotations

import os
import struct
import time

from plasm_core.plugins.engine import EngineFailure, GuestEnd, HostedEngine, HostedModule
from plasm_runtime_v8.library import Context, V8Error, deepen_thread_stacks, open_library

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable

    from plasm_core.plugins.engine import GuestFiles, GuestJob

_HEAD_BYTES = 24
_DATA_BYTES = 1 << 16
# Requests of the script: what stands in the head, as u32 request, u32 length; the answer of CLOCK is u64 at 8. At 16
# is the gas left after the last host call, i64.
_STDOUT, _STDERR, _STDIN, _MONOTONIC, _REALTIME, _SLEEP, _RANDOM, _PACK, _ENTRY, _DATA = range(1, 11)
_LONGEST_SLEEP_S = 3600.0


def _script(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


class V8Engine(HostedEngine):
    """The V8 engine. V8 compiles functions while it runs, so the artefact is the metered module itself."""

    def __init__(self) -> None:
        try:
            self._library = open_library()
            deepen_thread_stacks()
        except V8Error as exc:
            raise EngineFailure(f"v8: {exc}") from exc
        # Scripts, where there are no modules: without what they export, and import of one another.
        host, _, _ = _script("wasi.mjs").partition("\nexport {")
        _, _, files = _script("files.mjs").partition('} from "./wasi.mjs";\n')
        files, _, _ = files.partition("\nexport {")
        self._sources = (host, files, _script("runner.js"))

    def compile(self, module: bytes) -> bytes:
        _Isolate(self._library, self._sources).compile(module)
        return module

    def load(self, artefact: bytes) -> HostedModule:
        isolate = _Isolate(self._library, self._sources)
        isolate.compile(artefact)
        return V8Module(isolate)


class _Isolate:
    """A context with our scripts in it, and the buffer that both sides share."""

    def __init__(self, library: object, sources: tuple[str, ...]) -> None:
        try:
            self.context = Context(library)  # type: ignore[arg-type]
            self.shared = self.context.evaluate(
                f"globalThis.shared = new SharedArrayBuffer({_HEAD_BYTES + _DATA_BYTES})"
            )
            self.context.define("doorbell", self._rung)
            self.context.evaluate("\n".join(sources) + "\nnull")
        except V8Error as exc:
            raise EngineFailure(f"v8: {exc}") from exc
        self.serve: Callable[[int, int], None] = lambda _request, _length: None

    def _rung(self) -> None:
        request, length = struct.unpack_from("<II", self.shared)
        self.serve(request, length)

    def compile(self, module: bytes) -> None:
        """Compile a module, to the extent that V8 does before execution. Raises: `EngineFailure`."""
        try:
            buffer = self.context.evaluate(f"plasm.buffer({len(module)})")
            buffer[:] = module
            self.context.evaluate("plasm.compile()")
        except V8Error as exc:
            raise EngineFailure(f"v8: {' '.join(str(exc).split())[:500]}") from exc


class V8Module(HostedModule):
    """A compiled module in its own isolate, for one job."""

    def __init__(self, isolate: _Isolate) -> None:
        self._isolate = isolate

    def run(self, job: GuestJob) -> GuestEnd:
        shared, context = self._isolate.shared, self._isolate.context
        started_ns = time.monotonic_ns()

        def serve(request: int, length: int) -> None:
            if request in (_STDOUT, _STDERR):
                job.output(request, bytes(shared[_HEAD_BYTES : _HEAD_BYTES + length]))
            elif request == _STDIN:
                data = job.stdin.read(length)
                struct.pack_into("<I", shared, 4, len(data))
                shared[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
            elif request == _RANDOM:
                shared[_HEAD_BYTES : _HEAD_BYTES + length] = os.urandom(length)
            elif request == _PACK and job.files is not None:
                offset = struct.unpack_from("<Q", shared, 8)[0]
                shared[_HEAD_BYTES : _HEAD_BYTES + length] = job.files.read(offset, length)
            elif request == _ENTRY and job.files is not None:
                job.files.entry(bytes(shared[_HEAD_BYTES : _HEAD_BYTES + length]))
            elif request == _DATA and job.files is not None:
                job.files.data(bytes(shared[_HEAD_BYTES : _HEAD_BYTES + length]))
            elif request == _MONOTONIC:
                struct.pack_into("<Q", shared, 8, time.monotonic_ns() - started_ns)
            elif request == _REALTIME:
                struct.pack_into("<Q", shared, 8, time.time_ns())
            elif request == _SLEEP:
                time.sleep(min(struct.unpack_from("<Q", shared, 8)[0] / 1e9, _LONGEST_SLEEP_S))

        failures: list[BaseException] = []

        def guarded(request: int, length: int) -> None:
            try:
                if not failures:
                    serve(request, length)
            except BaseException as exc:  # an exception must not leave this callback: the script gets the error and ends the guest
                failures.append(exc)
                struct.pack_into("<I", shared, 0, 0)

        def note() -> None:
            job.noted[:] = shared[16:24]

        struct.pack_into("<q", shared, 16, job.gas)
        self._isolate.serve = guarded
        names = ", ".join(f"{use}: {name!r}" for use, name in job.names.items())
        try:
            text = context.evaluate(
                f"plasm.run({{args: [{_texts(job.args)}], env: [{_texts(job.env)}], seed: '{job.seed.hex()}', "
                f"outputBytes: {job.output_bytes}, stdinBytes: {job.stdin.remaining()}, gas: {job.gas}n, "
                f"pages: {job.pages}, hasStart: {int(job.has_start)}, realClock: {int(job.real_clock)}, "
                f"realRandom: {int(job.real_random)}, names: {{{names}}}, files: {_files(job.files)}}})",
                meanwhile=note,
            )
        except V8Error as exc:
            raise EngineFailure(f"v8: {' '.join(str(exc).split())[:500]}") from exc
        if failures:
            raise failures[0]
        kind, code, trap, left, fault, detail = text.split("\t", 5)
        if kind == "system_error":
            raise EngineFailure(f"v8: {' '.join(detail.split())[:500]}")
        return GuestEnd(kind=kind, code=int(code), trap=trap, gas_left=int(left), fault=int(fault))


def _files(files: GuestFiles | None) -> str:
    """Return a job's files as a JavaScript object, without their bytes."""
    if files is None:
        return "null"
    limits = f"dataBytes: {files.data_bytes}, entries: {files.entries}, descriptors: {files.descriptors}"
    return (
        f"{{listingBytes: {files.listing_bytes}, readOnly: [{_texts(files.read_only)}], "
        f"outputs: [{_texts(files.outputs)}], limits: {{{limits}}}}}"
    )


def _texts(strings: list[bytes]) -> str:
    """Return byte strings as JavaScript literals of hexadecimal digits."""
    return ",".join(f"'{string.hex()}'" for string in strings)
