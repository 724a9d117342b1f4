"""The vectors of tests/vectors/determinism.json: reading and writing them, and running one of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import attrs

from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records.manifest import PROFILE, JobInput, Limits, Manifest, manifest_for
from plasm_core.records.output import OutputStream
from tests.agreement.engines import runtime_of

TESTS = Path(__file__).resolve().parent.parent
CORPUS = TESTS / "corpus"
FILE = TESTS / "vectors" / "determinism.json"

_INLINE_BYTES = 256
_WALL_TIME_S = 300


@attrs.frozen(kw_only=True)
class Task:
    """A module of the corpus, what it is given, and its limits. `stdin_file` is a path in the corpus, or empty."""

    name: str
    module: str
    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    stdin: bytes = b""
    stdin_file: str = ""
    seed: str = "00" * 32
    limits: Limits

    def code(self) -> bytes:
        return module_code(self.module)

    def inputs(self) -> JobInput:
        stdin = (CORPUS / self.stdin_file).read_bytes() if self.stdin_file else self.stdin
        return JobInput(args=self.args, env=self.env, stdin=stdin)

    def manifest(self) -> Manifest:
        return manifest_for(
            self.code(), self.inputs(), limits=self.limits, seed=self.seed, wall_time_s=_WALL_TIME_S
        )


@attrs.frozen(kw_only=True)
class Given(Task):
    """A task whose module is given, not one of the corpus."""

    name: str = "given"
    module: str = ""
    given: bytes
    profile: str = PROFILE

    def code(self) -> bytes:
        return self.given

    def manifest(self) -> Manifest:
        return attrs.evolve(super().manifest(), profile=self.profile)


@attrs.frozen(kw_only=True)
class Observed:
    """What anyone who runs a task must observe: the outcome in words, gas, and both outputs."""

    outcome: dict[str, str | int]
    gas_used: int
    stdout: tuple[str, int]
    stderr: tuple[str, int]


@attrs.frozen(kw_only=True)
class Vector:
    """A task and what must come of it."""

    task: Task
    task_digest: str
    expected: Observed


@functools.cache
def module_code(module: str) -> bytes:
    return (CORPUS / module).read_bytes()


def run(node: LocalNode, runtime: str, task: Task) -> Observed:
    """Run a task as a node does, in a worker process of its own. `runtime`: as tests call it. Raises: `RefusedError`."""
    code, inputs = task.code(), task.inputs()
    chosen = runtime_of(node, runtime)
    ended = execute(node, task.manifest(), lambda: code, inputs, PassedOn(), runtime=chosen)
    outcome = attrs.asdict(ended.run.outcome)
    stdout, stderr = ended.outputs[OutputStream.STDOUT], ended.outputs[OutputStream.STDERR]
    return Observed(
        outcome={key: value for key, value in outcome.items() if value is not None},
        gas_used=ended.run.gas_used,
        stdout=(stdout.sha256, stdout.size_bytes),
        stderr=(stderr.sha256, stderr.size_bytes),
    )


def to_json(vector: Vector) -> dict[str, Any]:
    """Return a vector as the file holds it."""
    task = vector.task
    given: dict[str, Any] = {
        "name": task.name,
        "module": task.module,
        "args_hex": [item.hex() for item in task.args],
        "env_hex": [item.hex() for item in task.env],
    }
    if task.stdin_file:
        given["stdin_file"] = task.stdin_file
    else:
        assert len(task.stdin) <= _INLINE_BYTES, "keep long inputs in a file"
        given["stdin_hex"] = task.stdin.hex()
    expected = vector.expected
    return {
        **given,
        "seed_hex": task.seed,
        "limits": {name: str(value) for name, value in attrs.asdict(task.limits).items()},
        "task_digest": vector.task_digest,
        "outcome": expected.outcome,
        "gas_used": str(expected.gas_used),
        "stdout": {"sha256": expected.stdout[0], "size_bytes": str(expected.stdout[1])},
        "stderr": {"sha256": expected.stderr[0], "size_bytes": str(expected.stderr[1])},
    }


def from_json(value: dict[str, Any]) -> Vector:
    """Read a vector as the file holds it."""
    return Vector(
        task=Task(
            name=value["name"],
            module=value["module"],
            args=tuple(map(bytes.fromhex, value["args_hex"])),
            env=tuple(map(bytes.fromhex, value["env_hex"])),
            stdin=bytes.fromhex(value.get("stdin_hex", "")),
            stdin_file=value.get("stdin_file", ""),
            seed=value["seed_hex"],
            limits=Limits(**{name: int(number) for name, number in value["limits"].items()}),
        ),
        task_digest=value["task_digest"],
        expected=Observed(
            outcome=value["outcome"],
            gas_used=int(value["gas_used"]),
            stdout=(value["stdout"]["sha256"], int(value["stdout"]["size_bytes"])),
            stderr=(value["stderr"]["sha256"], int(value["stderr"]["size_bytes"])),
        ),
    )


@functools.cache
def document() -> dict[str, Any]:
    """Return the whole file."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@functools.cache
def vectors() -> list[Vector]:
    """Return all vectors, those of one module together."""
    return list(map(from_json, document()["cases"]))
