"""Measure what a unit of gas buys in host calls: `python benchmarks/host_calls.py`.

Gas is frozen, and a host call costs 1,000 whatever it has to look at, so what a call does must be cheap for the worst
arguments too. Every function of `wasi_snapshot_preview1` is called in a loop, with each of the arguments in `WORST`,
on each engine that is installed here. Told are milliseconds of processor time for a million gas. The exit code is 1
if any is above the bound.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys
import time

import attrs

from plasm_core.errors import PluginError
from plasm_core.plugins import loading
from plasm_core.plugins.engine import Engine
from plasm_core.plugins.interfaces import Runtime
from plasm_core.sandbox.metering.binary import signed as encode_signed
from plasm_core.sandbox.metering.binary import sized, unsigned, vector
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.process import confinement, worker, worker_frames
from plasm_core.sandbox.process.entry import make
from plasm_core.sandbox.wasi.abi import FUNCTIONS

BOUND_MS = 120.0
"""Milliseconds of processor time that a million gas may buy in host calls."""

_PAGES = 64
_IOVS, _SUBSCRIPTIONS, _EVENTS, _BUFFER, _RESULT = 4_096, 16_384, 131_072, 262_144, 64
_MANY = 250_000
_VECTORS = 1_024
_LEAST_S = 0.05
_LEAST_GAS = 1_000_000  # with less, what happens once in a process weighs too much
_FDS_BAD = 99


@attrs.frozen(kw_only=True)
class Call:
    """Arguments of one function, and what the job has for it to work on. `once`: a job can make one call only."""

    label: str
    arguments: tuple[int, ...]
    memory: tuple[tuple[int, bytes], ...] = ()
    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    stdin_bytes: int = 0
    once: bool = False


def _vectors(length: int, *, step: int = 1_000, count: int = _VECTORS) -> tuple[tuple[int, bytes], ...]:
    """Return a list of vectors of a length, spread over the memory."""
    return ((_IOVS, b"".join(struct.pack("<II", _BUFFER + step * i, length) for i in range(count))),)


def _subscriptions(kind: int, of: int) -> tuple[tuple[int, bytes], ...]:
    one = struct.pack("<QB7xI4xQ8xH6x", 7, kind, of, 1, 0)
    return ((_SUBSCRIPTIONS, one * _VECTORS),)


_POLL = (_SUBSCRIPTIONS, _EVENTS, _VECTORS, _RESULT)
_EMPTY = (b"",) * _MANY
_LONG = (b"x" * 1_000_000,)
_ENV = (b"A=",) * _MANY

WORST: dict[str, tuple[Call, ...]] = {
    "args_get": (
        Call(label="one", arguments=(_EVENTS, _BUFFER)),
        Call(label="many", arguments=(_BUFFER, 2 << 20), args=_EMPTY),
        Call(label="long", arguments=(_EVENTS, _BUFFER), args=_LONG),
    ),
    "args_sizes_get": (
        Call(label="one", arguments=(64, 68)),
        Call(label="many", arguments=(64, 68), args=_EMPTY),
    ),
    "environ_get": (
        Call(label="none", arguments=(_EVENTS, _BUFFER)),
        Call(label="many", arguments=(_BUFFER, 2 << 20), env=_ENV),
    ),
    "environ_sizes_get": (
        Call(label="none", arguments=(64, 68)),
        Call(label="many", arguments=(64, 68), env=_ENV),
    ),
    "random_get": (
        Call(label="a byte", arguments=(_BUFFER, 1)),
        Call(label="1 MiB", arguments=(_BUFFER, 1 << 20)),
        Call(label="outside", arguments=(0xFFFF_FFFF, 1)),
    ),
    "fd_read": (
        Call(label="at the end", arguments=(0, _IOVS, 1, _RESULT), memory=_vectors(1)),
        Call(
            label="bytes", arguments=(0, _IOVS, _VECTORS, _RESULT), memory=_vectors(1), stdin_bytes=64 << 20
        ),
        Call(label="nothing", arguments=(0, _IOVS, _VECTORS, _RESULT), memory=_vectors(0), stdin_bytes=1),
        Call(
            label="1 MiB",
            arguments=(0, _IOVS, 1, _RESULT),
            memory=_vectors(1 << 20, count=1),
            stdin_bytes=64 << 20,
        ),
    ),
    "fd_write": (
        Call(label="a byte", arguments=(1, _IOVS, 1, _RESULT), memory=_vectors(1)),
        Call(label="bytes", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(1)),
        Call(label="nothing", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(0)),
        Call(label="1 MiB", arguments=(1, _IOVS, 1, _RESULT), memory=_vectors(1 << 20, count=1)),
        Call(label="outside", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(1, step=4_000)),
    ),
    "poll_oneoff": (
        Call(label="clocks", arguments=_POLL, memory=_subscriptions(0, 1)),
        Call(label="descriptors", arguments=_POLL, memory=_subscriptions(2, 1)),
        Call(label="no descriptors", arguments=_POLL, memory=_subscriptions(1, _FDS_BAD)),
        Call(label="no kind", arguments=_POLL, memory=_subscriptions(9, 0)),
    ),
    "proc_exit": (Call(label="once", arguments=(0,), once=True),),
    "clock_time_get": (
        Call(label="a clock", arguments=(0, 1, _RESULT)),
        Call(label="outside", arguments=(0, 1, 0xFFFF_FFFF)),
        Call(label="no clock", arguments=(9, 1, _RESULT)),
    ),
    "fd_renumber": (
        Call(label="to another", arguments=(1, 1)),
        Call(label="no descriptor", arguments=(_FDS_BAD, 1)),
    ),
}
"""The arguments that make the host work most, by function: for the others, see `_otherwise`."""


def _otherwise(name: str) -> tuple[Call, ...]:
    """Return arguments for a function that only looks at descriptors and numbers: one that is there, and none."""
    params, _ = FUNCTIONS[name]
    fd = 2 if name == "path_symlink" else 0
    there = [_RESULT] * len(params)
    if params:
        there[min(fd, len(params) - 1)] = 1
    return (
        Call(label="there", arguments=tuple(there)),
        Call(label="not there", arguments=tuple([_FDS_BAD] * len(params))),
        Call(label="all bits", arguments=tuple(0xFFFF_FFFF if char == "i" else 2**64 - 1 for char in params)),
    )


for _name in FUNCTIONS:
    WORST.setdefault(_name, _otherwise(_name))


def module_calling(name: str, call: Call, times: int) -> bytes:
    """Return a module that makes a call so many times."""

    def section(number: int, content: bytes) -> bytes:
        return bytes([number]) + sized(content)

    types = {"i": b"\x7f", "I": b"\x7e"}
    params, results = ([types[char] for char in half] for half in FUNCTIONS[name])
    code = b"\x03\x40"
    for char, value in zip(FUNCTIONS[name][0], call.arguments, strict=True):
        bits = 32 if char == "i" else 64
        value -= (value >> (bits - 1)) << bits
        code += bytes([0x41 if char == "i" else 0x42]) + encode_signed(value)
    code += b"\x10\0" + (b"\x1a" if results else b"")
    code += b"\x20\0\x41\1\x6a\x22\0\x41" + encode_signed(times) + b"\x49\x0d\0\x0b"
    return b"\0asm\1\0\0\0" + b"".join(
        (
            section(1, vector([b"\x60" + vector(params) + vector(results), b"\x60\0\0"])),
            section(2, vector([sized(b"wasi_snapshot_preview1") + sized(name.encode()) + b"\0\0"])),
            section(3, vector([b"\1"])),
            section(5, vector([b"\0" + unsigned(_PAGES)])),
            section(7, vector([sized(b"memory") + b"\2\0", sized(b"_start") + b"\0\1"])),
            section(10, vector([sized(b"\1\1\x7f" + code + b"\x0b")])),
            section(
                11,
                vector([b"\0\x41" + encode_signed(at) + b"\x0b" + sized(data) for at, data in call.memory]),
            ),
        )
    )


class Drain:
    """A socket that another process empties, as a daemon does with what its workers write."""

    def __init__(self) -> None:
        self.sock, other = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self.sock.close()
            while other.recv(1 << 20):
                pass
            os._exit(0)
        other.close()

    def close(self) -> None:
        """End the other process."""
        self.sock.close()
        os.waitpid(self._pid, 0)


def measure(engine: Engine, name: str, call: Call, *, canonical_nans: bool, drain: Drain) -> float:
    """Return the milliseconds of processor time that a million gas buys, of enough calls to tell."""
    times = 1 if call.once else 8
    stdin_fd = os.memfd_create("stdin")
    os.ftruncate(stdin_fd, call.stdin_bytes)
    try:
        while True:
            code = meter(module_calling(name, call, times), canonical_nans=canonical_nans).code
            host, instance = worker.make_instance(engine.load(engine.compile(code)))
            job = worker_frames.WorkerJob(
                worker_frames.pack_job(
                    gas=2**53 - 1,
                    memory_bytes=1 << 30,
                    output_bytes=1 << 40,
                    stdin_bytes=call.stdin_bytes,
                    cpu_s=60,
                    flags=0,
                    seed=bytes(32),
                    args=call.args,
                    env=call.env,
                )
            )
            stdin = worker.FileStdin(stdin_fd, call.stdin_bytes)
            send = worker.sender(drain.sock)
            started = time.process_time()
            kind, _, _, gas, *_ = worker_frames.unpack_outcome(worker.run(instance, host, job, stdin, send))
            spent_s = time.process_time() - started
            if kind != "exited":
                raise RuntimeError(f"{name}, {call.label}: {kind}")
            if call.once or (spent_s >= _LEAST_S and gas >= _LEAST_GAS):
                return spent_s * 1e9 / gas
            times *= 4
    finally:
        os.close(stdin_fd)


def engines() -> dict[str, tuple[Runtime, Engine]]:
    """Return the engines that work in this interpreter."""
    found = {}
    for name in ("wasmtime", "wasm3", "wasmer"):
        try:
            runtime = loading.create(Runtime, name, {})  # type: ignore[type-abstract]
        except PluginError:
            continue
        if runtime.python() == sys.executable:
            found[name] = (runtime, make(runtime.entry, runtime.options()))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.parse_args()
    confinement.allow_deep_stack()
    drain = Drain()
    found = engines()
    most = 0.0
    sys.stdout.write(
        f"{'ms of processor time for a million gas':40} {' '.join(f'{name:>9}' for name in found)}\n"
    )
    for name in sorted(FUNCTIONS):
        for call in WORST[name]:
            row = [
                measure(engine, name, call, canonical_nans=not runtime.canonical_nans, drain=drain)
                for runtime, engine in found.values()
            ]
            most = max(most, *row) if not call.once else most
            sys.stdout.write(f"{name + ', ' + call.label:40} {' '.join(f'{ms:9.1f}' for ms in row)}\n")
            sys.stdout.flush()
    drain.close()
    sys.stdout.write(f"most {most:.1f}, bound {BOUND_MS:.0f}, {len(FUNCTIONS)} functions\n")
    return int(most > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
