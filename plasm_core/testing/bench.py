"""Runs test modules as a node does: admitted, each in a new process, with a signed receipt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from plasm_core.config import Config, PluginSelection, Policy, SandboxConfig
from plasm_core.execution import run_job
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import JobInput, Limits, Outcome, Receipt, manifest_for
from plasm_core.records.converter import unstructure
from plasm_core.records.output import OutputStream
from plasm_core.testing.script import Script, ScriptOutcome

MODULES = Path(__file__).parent / "modules"

AMPLE = Limits(gas=1_000_000_000, memory_bytes=16 << 20, output_bytes=1 << 20)
"""Limits that a test does not mean to reach."""


def module_named(name: str) -> bytes:
    """Return the bytes of one of the modules in `modules/`. Its source, as text, is in the same directory."""
    return (MODULES / f"{name}.wasm").read_bytes()


def exited(code: int) -> Outcome:
    """Return the outcome of a job that exited."""
    return Outcome(kind="exited", code=code)


def trapped(kind: str) -> Outcome:
    """Return the outcome of a job that trapped."""
    return Outcome(kind="trapped", trap=kind)


OUT_OF_GAS = Outcome(kind="out_of_gas")
OUTPUT_LIMIT = Outcome(kind="output_limit")


@attrs.frozen(kw_only=True)
class Ended:
    """A job that ran: its observables, and its receipt."""

    outcome: Outcome
    gas_used: int
    stdout: bytes
    stderr: bytes
    receipt: Receipt


class Bench:
    """A node with one runtime, on which tests run jobs."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node

    def run(
        self,
        module: str | bytes,
        *,
        args: Sequence[bytes] = (),
        env: Sequence[bytes] = (),
        stdin: bytes = b"",
        gas: int = AMPLE.gas,
        memory_bytes: int = AMPLE.memory_bytes,
        output_bytes: int = AMPLE.output_bytes,
        seed: bytes = bytes(32),
        wall_time_s: int = 60,
        grants: Sequence[str] = (),
        entry: str | None = None,
        profile: str | None = None,
        cancelled: threading.Event | None = None,
        output: Callable[[OutputStream, bytes], None] = lambda _stream, _data: None,
        progress: Callable[[str], None] = lambda _phase: None,
    ) -> Ended:
        """Run a module, by name one of `modules/`. Raises: what `run_job` raises."""
        code = module_named(module) if isinstance(module, str) else module
        inputs = JobInput(args=tuple(args), env=tuple(env), stdin=stdin)
        limits = Limits(gas=gas, memory_bytes=memory_bytes, output_bytes=output_bytes)
        manifest = manifest_for(
            code,
            inputs,
            limits=limits,
            seed=seed.hex(),
            wall_time_s=wall_time_s,
            grants=grants,
            entry=entry,
            profile=profile,
        )
        streams = {stream: bytearray() for stream in OutputStream}

        def take(stream: OutputStream, data: bytes) -> None:
            streams[stream] += data
            output(stream, data)

        completed = run_job(self.node, code, inputs, manifest, take, progress=progress, cancelled=cancelled)
        receipt = completed.receipt
        return Ended(
            outcome=receipt.result.outcome,
            gas_used=receipt.result.gas_used,
            stdout=bytes(streams[OutputStream.STDOUT]),
            stderr=bytes(streams[OutputStream.STDERR]),
            receipt=receipt,
        )

    def play(
        self,
        script: Script,
        *,
        args: Sequence[bytes] = (),
        env: Sequence[bytes] = (),
        stdin: bytes = b"",
        gas: int = AMPLE.gas,
        seed: bytes = bytes(32),
        grants: Sequence[str] = (),
    ) -> ScriptOutcome:
        """Make a script's host calls and exit with 0. `stdin` follows the script in standard input."""
        ended = self.run(
            "calls",
            args=args,
            env=env,
            stdin=script.image() + stdin,
            gas=gas,
            seed=seed,
            grants=grants,
        )
        assert ended.outcome == exited(0)
        return script.done(ended.stdout, ended.stderr)


@contextlib.contextmanager
def open_bench(
    runtime: Runtime,
    directory: Path,
    *,
    policy: Policy | None = None,
    sandbox: SandboxConfig | None = None,
) -> Iterator[Bench]:
    """Open a bench with an installed runtime. Its state and cache are in a directory."""
    table = unstructure(runtime) if attrs.has(type(runtime)) else {}
    config = Config(
        plasm=PluginSelection(runtime=runtime.name),
        policy=policy or Policy(),
        sandbox=sandbox or SandboxConfig(),
        components={"runtime": {runtime.name: table}},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STATE", "CACHE", "CONFIG"):
            patch.delenv(f"{name}_DIRECTORY", raising=False)
            patch.setenv(f"XDG_{name}_HOME", str(directory / name.lower()))
        node = LocalNode(config)
        # Resolve key and cache now: a test may change the environment later.
        assert node.signer.peer_id
        assert node.admission()
    with node:
        yield Bench(node)
