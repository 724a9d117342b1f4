"""The host that an engine brings of its own does no more for a call than is charged, as ours (`test_host_cost.py`)."""

from __future__ import annotations

import itertools
import os
import random
import struct
from collections.abc import Iterator

import pytest

from benchmarks.worst_calls import Call, module_calling
from plasm_core.plugins.engine import GuestFiles, GuestJob, HostedEngine
from plasm_core.sandbox.metering.injected import FAULT_GLOBAL, GAS_GLOBAL, PAGES_GLOBAL, START_EXPORT
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.process.file_pack import PREFIX_BYTES, FilePack
from plasm_core.sandbox.process.tree_packing import bytes_source, pack_tree
from plasm_core.sandbox.wasi.abi import FILE_RIGHTS

pytest.importorskip("py_mini_racer")

from plasm_runtime_v8.engine import V8Engine, _Isolate

IOVS, RESULT, PATH, BUFFER = 4_096, 64, 128, 131_072
CONTENT = bytes(index % 251 for index in range(300_000))
NAMES = {"gas": GAS_GLOBAL, "pages": PAGES_GLOBAL, "fault": FAULT_GLOBAL, "start": START_EXPORT}


class Stdin:
    """Standard input that counts how often it is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0

    def read(self, count: int) -> bytes:
        self.reads += 1
        data, self._data = self._data[:count], self._data[count:]
        return data

    def remaining(self) -> int:
        return len(self._data)


@pytest.fixture(scope="module")
def engine() -> HostedEngine:
    return V8Engine()


@pytest.fixture
def pack() -> Iterator[FilePack]:
    with pack_tree([bytes_source(b"f", CONTENT)]) as made:
        yield made


def run(
    engine: HostedEngine,
    name: str,
    call: Call,
    *,
    stdin: Stdin | None = None,
    output_bytes: int = 1 << 20,
    files: GuestFiles | None = None,
) -> tuple[str, list[bytes]]:
    """Make a call once. Return how the guest ended, and each message of its output."""
    sent: list[bytes] = []
    job = GuestJob(
        args=[],
        env=[],
        seed=bytes(32),
        stdin=stdin or Stdin(b""),
        output=lambda _stream, data: sent.append(data),
        output_bytes=output_bytes,
        gas=10**9,
        pages=64,
        has_start=False,
        real_clock=False,
        real_random=False,
        names=NAMES,
        files=files,
    )
    code = meter(module_calling(name, call, 1), canonical_nans=True).code
    ended = engine.load(engine.compile(code)).run(job)
    return ended.kind, sent


def vectors(lengths: list[int]) -> tuple[tuple[int, bytes], ...]:
    """Return a list of vectors, one behind the other, as a module's memory has it."""
    starts = itertools.accumulate(lengths, initial=BUFFER)
    packed = b"".join(
        struct.pack("<II", start, length) for start, length in zip(starts, lengths, strict=False)
    )
    return ((IOVS, packed),)


def echoing(lengths: list[int], *, before: tuple[tuple[str, tuple[int, ...]], ...] = (), fd: int = 0) -> Call:
    """Return a call that reads into vectors, and then writes them to standard output."""
    given = (IOVS, len(lengths), RESULT)
    return Call(
        label="echo",
        arguments=(fd, *given),
        memory=(*vectors(lengths), (PATH, b"f")),
        before=before,
        after=(("fd_write", (1, *given)),),
    )


@pytest.mark.parametrize("length", [1, 7, 60])
def test_what_a_call_writes_goes_out_at_once(engine: HostedEngine, length: int) -> None:
    """A vector costs 8 gas, a message to the daemon far more."""
    lengths = [length] * 1_024

    kind, sent = run(
        engine, "fd_write", Call(label="", arguments=(1, IOVS, 1_024, RESULT), memory=vectors(lengths))
    )

    assert (kind, [len(data) for data in sent]) == ("exited", [1_024 * length])


@pytest.mark.parametrize("length", [1, 7, 60])
def test_one_read_of_standard_input_serves_many_vectors(engine: HostedEngine, length: int) -> None:
    stdin = Stdin(CONTENT)

    kind, sent = run(engine, "fd_read", echoing([length] * 1_024), stdin=stdin)

    assert (kind, b"".join(sent), stdin.reads) == ("exited", CONTENT[: 1_024 * length], 1)


@pytest.mark.parametrize("length", [1, 7, 60])
def test_one_read_of_an_input_file_serves_many_vectors(
    engine: HostedEngine, pack: FilePack, length: int
) -> None:
    reads = []

    def read(offset: int, count: int) -> bytes:
        reads.append(count)
        return (listing + CONTENT)[offset : offset + count]

    listing = os.pread(pack.fd, pack.listing_bytes, PREFIX_BYTES)
    files = GuestFiles(
        listing_bytes=pack.listing_bytes,
        read_only=[],
        outputs=[],
        data_bytes=0,
        entries=4,
        descriptors=8,
        read=read,
        entry=lambda _body: None,
        data=lambda _body: None,
    )
    opening = ("path_open", (3, 0, PATH, 1, 0, FILE_RIGHTS, 0, 0, RESULT))

    kind, sent = run(engine, "fd_read", echoing([length] * 1_024, before=(opening,), fd=4), files=files)

    assert (kind, b"".join(sent)) == ("exited", CONTENT[: 1_024 * length])
    assert reads == [len(listing), 1_024 * length]


@pytest.mark.parametrize("seed", range(6))
def test_vectors_of_any_lengths_are_read_and_written_in_order(engine: HostedEngine, seed: int) -> None:
    """Around the 64 KiB that pass at once, above all."""
    chosen = random.Random(seed)
    lengths = [chosen.choice([0, 1, 31, 32, 4_000, 65_535, 65_536, 65_537]) for _ in range(12)]
    stdin = Stdin(CONTENT[: chosen.choice([0, 1, 65_536, 100_000, len(CONTENT)])])
    there = stdin.remaining()
    limit = chosen.choice([10, 65_536, 70_000, 1 << 20])

    kind, sent = run(engine, "fd_read", echoing(lengths), stdin=stdin, output_bytes=limit)

    total = sum(lengths)
    expected = (CONTENT[: min(total, there)] + bytes(total))[:total][:limit]
    assert (kind, b"".join(sent)) == ("output_limit" if total > limit else "exited", expected)
    assert max(map(len, sent), default=0) <= 65_536


@pytest.mark.parametrize("name", ["args", "environ"])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_sizes_are_counted_without_reading_the_strings(engine: HostedEngine, name: str, count: int) -> None:
    assert isinstance(engine, V8Engine)
    context = _Isolate(engine._library, engine._sources).context

    told = context.evaluate(
        f"""(() => {{
          let looks = 0;
          const strings = Array.from({{length: {count}}}, () => ({{ get length() {{ looks++; return 3; }} }}));
          const job = {{ args: strings, env: strings, seed: new Uint8Array(32), outputBytes: 0, stdinBytes: 0 }};
          const host = new Host(job, {{}}), memory = new WebAssembly.Memory({{ initial: 1 }});
          host.attach(memory, {{ value: 10n ** 9n }});
          looks = 0;
          for (let i = 0; i < 5; i++) host.imports.{name}_sizes_get(0, 4);
          const view = new DataView(memory.buffer);
          return [looks, view.getUint32(0, true), view.getUint32(4, true)].join(" ");
        }})()"""
    )

    main = int(name == "args")
    assert told == f"0 {count + main} {4 * count + 5 * main}"
