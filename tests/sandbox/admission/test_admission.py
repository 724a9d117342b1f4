"""What comes between a module and its running: refusals, limits of the compiler, the cache, the policy."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from plasm_core.config import AdmissionLimits
from plasm_core.errors import (
    BadModuleError,
    CompileLimitError,
    PlasmError,
    PluginError,
    RefusedError,
    SandboxError,
)
from plasm_core.execution import run_job
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime, Validator
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.sandbox.admission import admission as admission_module
from plasm_core.sandbox.admission import entry_names
from plasm_core.sandbox.admission.admission import Admission
from plasm_core.sandbox.admission.cache import Cache
from plasm_core.sandbox.admission.fit import check_fit
from plasm_core.sandbox.metering import native_body
from plasm_core.sandbox.metering.binary import vector
from plasm_core.testing.bench import Bench, exited, module_named
from plasm_core.testing.script import MONOTONIC, REALTIME, Script
from tests.sandbox.hostile.runtime import HostileRuntime
from tests.sandbox.modules import command, described, memory_bomb, processor_bomb, wat, with_names

KEY = bytes(range(32))
DEFAULT = AdmissionLimits()
SMALL = AdmissionLimits(cpu_s=1, memory_bytes=256 << 20)
LIMITS = Limits(gas=1_000_000, memory_bytes=1 << 20, output_bytes=1 << 10)
EMPTY = module_named("gas_empty")

Admit = Callable[..., list[str]]


@pytest.fixture
def admit(tmp_path: Path) -> Admit:
    """Return a function that admits a module and returns the phases it went through.

    Each call makes another admission over the same cache directory.
    """

    def call(
        module: bytes,
        *,
        runtime: Runtime | None = None,
        admission: AdmissionLimits = DEFAULT,
        limits: Limits = LIMITS,
        key: bytes = KEY,
    ) -> list[str]:
        phases: list[str] = []
        made = Admission(
            validator=loading.create(Validator, "wasmtime", {}),  # type: ignore[type-abstract]
            runtime=runtime or loading.create(Runtime, "wasmtime", {}),  # type: ignore[type-abstract]
            cache=Cache(tmp_path / "modules", key, admission.cache_bytes),
            limits=admission,
        )
        made.admit(module, limits, progress=phases.append).close()
        return phases

    return call


# -- the cache


def test_a_module_is_prepared_and_compiled_once(admit: Admit) -> None:
    assert admit(EMPTY) == ["validating", "compiling"]
    assert admit(EMPTY) == []


def test_what_the_cache_holds_depends_on_all_that_makes_it(admit: Admit) -> None:
    admit(EMPTY)

    pulley = loading.create(Runtime, "wasmtime", {"target": "pulley64"})  # type: ignore[type-abstract]
    assert admit(EMPTY, runtime=pulley) == ["compiling"]
    assert admit(EMPTY, runtime=HostileRuntime()) == ["compiling"]
    assert admit(EMPTY, runtime=HostileRuntime(then="hang")) == ["compiling"]
    assert admit(EMPTY + b"\0\2\1x") == ["validating", "compiling"]
    assert admit(EMPTY, key=KEY[::-1]) == ["validating", "compiling"]


def test_a_damaged_cache_costs_time_only(admit: Admit, tmp_path: Path) -> None:
    admit(EMPTY)
    for path in (tmp_path / "modules").iterdir():
        path.write_bytes(path.read_bytes()[:-1])

    assert admit(EMPTY) == ["validating", "compiling"]
    assert admit(EMPTY) == []


def test_without_a_cache_each_time_is_the_first(admit: Admit) -> None:
    nothing = AdmissionLimits(cache_bytes=0)

    assert admit(EMPTY, admission=nothing) == ["validating", "compiling"]
    assert admit(EMPTY, admission=nothing) == ["validating", "compiling"]


def _admission(directory: Path, validator: Validator | None = None) -> Admission:
    return Admission(
        validator=validator or loading.create(Validator, "wasmtime", {}),  # type: ignore[type-abstract]
        runtime=loading.create(Runtime, "wasmtime", {}),  # type: ignore[type-abstract]
        cache=Cache(directory, KEY, DEFAULT.cache_bytes),
        limits=DEFAULT,
    )


class _Nothing:
    """Fails where a module is read or a child is started: all must come from the cache."""

    def read(self) -> bytes:
        raise AssertionError("the module was read")

    def run(self, *_: object, **__: object) -> None:
        raise AssertionError("a child was started")


def test_a_cached_run_reads_neither_the_module_nor_its_metered_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the description and the artefact are wanted: the metered code of a compiler has 30 MB."""
    directory = tmp_path / "modules"
    program = _admission(directory).admit(EMPTY, LIMITS)
    program.close()
    fetched: list[str] = []
    fetch = Cache.fetch

    def counted(cache: Cache, name: str) -> int | None:
        fetched.append(name)
        return fetch(cache, name)

    monkeypatch.setattr(Cache, "fetch", counted)
    monkeypatch.setattr(admission_module, "run_child", _Nothing().run)

    with _admission(directory).admit_stored(program.digest, _Nothing().read, LIMITS) as again:
        assert again.info == program.info

    assert len(fetched) == 2
    assert not any("metered" in name for name in fetched)


def test_inspecting_uses_the_cache_and_fills_it(
    admit: Admit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metering a large module took 26 seconds each time it was looked at."""
    first = _admission(tmp_path / "modules").inspect(EMPTY)

    assert admit(EMPTY) == ["compiling"]
    monkeypatch.setattr(admission_module, "run_child", _Nothing().run)
    assert _admission(tmp_path / "modules").inspect(EMPTY) == first


def test_inspecting_keeps_nothing_of_a_bad_module(admit: Admit, tmp_path: Path) -> None:
    inspected = _admission(tmp_path / "modules").inspect(wat("(module)"))

    assert inspected.problems
    assert list((tmp_path / "modules").iterdir()) == []


def test_what_the_cache_holds_depends_on_all_code_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed rewriter must not find its old work: gas and stack would be those of the old schedule."""
    question = (
        "import plasm_core.sandbox.metering.rewrite, plasm_core.sandbox.admission.rules, plasm_core.sandbox.admission.prepare, sys;"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('plasm_core.sandbox.')))"
    )
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    needed = {Path(name) for name in answer.stdout.split()}
    read: set[Path] = set()
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.add(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)

    entry_names._sources.__wrapped__()

    # Without what only limits and serves the child.
    serving = {"__init__", "child", "confine", "descriptor", "prepare"}
    assert {path for path in needed - read if path.stem not in serving} == set()
    assert Path(native_body.__file__).parent / "native" / "body.wasm" in read


# -- refusals


def refused(admit: Admit, module: bytes, **how: object) -> RefusedError:
    """Return the refusal of a module."""
    with pytest.raises(RefusedError) as caught:
        admit(module, **how)
    return caught.value


def test_a_module_that_breaks_a_rule_is_refused_and_not_kept(admit: Admit, tmp_path: Path) -> None:
    error = refused(admit, wat('(module (memory (export "memory") 1) (func))'))

    assert isinstance(error, BadModuleError)
    assert error.reason == "no_start"
    assert list((tmp_path / "modules").iterdir()) == []


def test_a_module_that_is_too_large_is_not_even_looked_at(admit: Admit) -> None:
    limits = AdmissionLimits(module_bytes=len(EMPTY) - 1)

    error = refused(admit, EMPTY, admission=limits)

    assert error.reason == "too_large"
    assert admit(EMPTY, admission=attrs.evolve(limits, module_bytes=len(EMPTY))) != []


def test_a_module_that_starts_with_more_memory_than_its_limit_is_refused(admit: Admit) -> None:
    module = wat('(module (memory (export "memory") 17) (func (export "_start")))')

    error = refused(admit, module)

    assert error.reason == "memory_limit"
    assert error.hint is not None
    assert admit(module, limits=attrs.evolve(LIMITS, memory_bytes=17 << 16)) == ["compiling"]


def test_a_module_that_the_runtime_lacks_a_feature_for_is_refused_by_its_name() -> None:
    info = described(wat("(module … (func (param v128)) (func (result i32 i32) i32.const 0 i32.const 0))"))

    with pytest.raises(RefusedError) as caught:
        check_fit(info, HostileRuntime(), LIMITS)

    assert caught.value.reason == "unsupported_feature"
    assert "multi-value, simd" in str(caught.value)


def test_a_module_of_many_long_names_is_refused_or_run(admit: Admit) -> None:
    """Four megabytes of export names break no rule; the daemon must know what to do with them."""
    try:
        admit(with_names(80_000, 60))
    except RefusedError as exc:
        assert exc.reason


# -- compile bombs


def _cranelift() -> Runtime | None:
    return loading.create(Runtime, "wasmtime", {})  # type: ignore[type-abstract]


def _winch() -> Runtime | None:
    return loading.create(Runtime, "wasmtime", {}).quick()  # type: ignore[type-abstract]


def _v8() -> Runtime | None:
    return _installed("v8")


def _installed(name: str) -> Runtime | None:
    runtime = loading.create(Runtime, name, {})  # type: ignore[type-abstract]
    try:
        runtime.check()
    except PluginError:
        return None
    return runtime


def _wasm3() -> Runtime | None:
    return _installed("wasm3")


@pytest.mark.parametrize("named", [_winch, _v8, _wasm3])
@pytest.mark.parametrize("bomb", [processor_bomb, memory_bomb])
def test_what_other_compilers_take_of_a_bomb_stays_within_the_limits(
    tmp_path: Path, admit: Admit, bomb: Callable[[], bytes], named: Callable[[], Runtime | None]
) -> None:
    """They compile in time that is proportional to the code, or while the guest runs: then it is the job's time."""
    runtime = named()
    if runtime is None:
        pytest.skip("it is not installed")
    before_s = children_s()

    try:
        admit(bomb(), runtime=runtime, admission=SMALL)
    except RefusedError as exc:
        assert exc.reason in ("compile_limit", "unsupported_feature")

    # A second more before SIGKILL, in each of two children.
    assert children_s() - before_s < 4 * (SMALL.cpu_s + 1)


def children_s() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_threads_of_the_compiler_share_its_limit_of_processor_time(admit: Admit) -> None:
    """A module large enough to be compiled in threads, with a function for each that takes minutes."""
    error = refused(admit, processor_bomb(functions=8), admission=SMALL)

    assert "processor time" in str(error)


def test_code_that_takes_too_long_to_compile_is_refused(admit: Admit) -> None:
    """12 KB of module that take minutes. It is the processor that is limited, so a slow machine does not matter."""
    bomb = processor_bomb()
    assert len(bomb) < 20_000
    before_s = children_s()

    error = refused(admit, bomb, admission=SMALL)

    assert isinstance(error, CompileLimitError)
    assert error.reason == "compile_limit"
    assert "processor time" in str(error)
    assert children_s() - before_s < 4 * (SMALL.cpu_s + 1)


def test_code_that_takes_v8_too_much_memory_is_refused_for_memory(admit: Admit) -> None:
    """V8 ends its process where memory ends, after a stack trace that is longer than what is kept of others."""
    runtime = _v8()
    if runtime is None:
        pytest.skip("V8 is not installed")

    error = refused(
        admit, memory_bomb(), runtime=runtime, admission=attrs.evolve(DEFAULT, memory_bytes=256 << 20)
    )

    assert error.reason == "compile_limit"
    assert "memory" in str(error)


def test_what_a_compiler_says_of_a_limit_of_its_own_is_one_line(admit: Admit) -> None:
    targets = 120_000
    module = command(b"\x41\0\x0e" + vector([b"\0"] * targets) + b"\0")

    error = refused(admit, module)

    assert error.reason == "compile_failed"
    assert "br_table" in str(error)
    assert "\n" not in str(error)


# Processor time enough, or a slow machine would be told of that instead.
@pytest.mark.parametrize(
    "limits", [attrs.evolve(DEFAULT, memory_bytes=256 << 20), DEFAULT], ids=["small", "default"]
)
def test_code_that_takes_too_much_memory_to_compile_is_refused(admit: Admit, limits: AdmissionLimits) -> None:
    """95 KB of module for which a compiler wants many gigabytes."""
    bomb = memory_bomb()
    assert len(bomb) < 100_000

    error = refused(admit, bomb, admission=limits)

    assert isinstance(error, CompileLimitError)
    assert error.reason == "compile_limit"
    assert "memory" in str(error)


def test_a_bomb_leaves_nothing_behind(admit: Admit, tmp_path: Path) -> None:
    """Its preparation is kept, which is right: it is the compiler that gave up. No artefact is."""
    refused(admit, memory_bomb(), admission=SMALL)

    assert admit(EMPTY, admission=SMALL) == ["validating", "compiling"]
    assert not [path for path in (tmp_path / "modules").iterdir() if path.name.startswith("new-")]


@pytest.mark.parametrize("named", [_cranelift, _winch, _v8, _wasm3])
def test_the_least_limits_that_can_be_configured_suffice_for_a_small_module(
    admit: Admit, named: Callable[[], Runtime | None]
) -> None:
    """V8 reserves more memory at its start than the limit allows, and was ended by it."""
    runtime = named()
    if runtime is None:
        pytest.skip("it is not installed")

    assert admit(EMPTY, runtime=runtime, admission=AdmissionLimits(cpu_s=1, memory_bytes=64 << 20)) != []


def test_deeply_nested_code_is_prepared_within_the_limits(admit: Admit) -> None:
    try:
        admit(command(b"\x02\x40" * 100_000 + b"\x0b" * 100_000))
    except RefusedError as exc:
        assert exc.reason in ("compile_limit", "compile_failed", "invalid")


# -- what can happen to the child that compiles


@pytest.mark.parametrize("how", ["abort", "crash"])
def test_a_compiler_that_crashes_refuses_the_module(admit: Admit, how: str) -> None:
    """wasmtime aborts its process on some modules; another compiler may take them."""
    error = refused(admit, EMPTY, runtime=HostileRuntime(compiling=how))

    assert error.reason == "compile_failed"


def test_a_compiler_that_says_why_it_fails_is_quoted(admit: Admit) -> None:
    error = refused(admit, EMPTY, runtime=HostileRuntime(compiling="fail"))

    assert error.reason == "compile_failed"
    assert "it has no such instruction" in str(error)
    assert "hostile" in str(error)


@pytest.mark.parametrize("how", ["exit", "raise"])
def test_a_compiler_that_is_broken_is_the_nodes_fault(admit: Admit, how: str) -> None:
    with pytest.raises(SandboxError):
        admit(EMPTY, runtime=HostileRuntime(compiling=how))


@pytest.mark.parametrize("how", ["spin", "eat"])
def test_a_compiler_that_is_stopped_reached_a_limit(admit: Admit, how: str) -> None:
    error = refused(admit, EMPTY, runtime=HostileRuntime(compiling=how), admission=SMALL)

    assert isinstance(error, CompileLimitError)
    assert ("processor time" in str(error)) == (how == "spin")


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_a_compiler_that_is_killed_from_outside_is_the_nodes_fault(admit: Admit) -> None:
    """As by the kernel when memory runs out. It is no limit that the module reached."""
    killer = threading.Thread(target=kill_child, args=("plasm compile hostile",), daemon=True)
    killer.start()

    with pytest.raises(SandboxError, match="not compiled: the process was killed by the kernel"):
        admit(EMPTY, runtime=HostileRuntime(compiling="spin"))
    killer.join(10)
    assert not killer.is_alive()


def kill_child(title: str) -> None:
    """Kill a child of this process by its title, as soon as there is one."""
    while True:
        with contextlib.suppress(OSError):  # a child that ended since it was listed
            for children in Path("/proc/self/task").glob("*/children"):
                for pid in children.read_text().split():
                    if title.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(int(pid), signal.SIGKILL)
                        return


def test_a_failed_compilation_is_tried_again_the_next_time(admit: Admit) -> None:
    refused(admit, EMPTY, runtime=HostileRuntime(compiling="fail"))

    assert admit(EMPTY) == ["compiling"]
    assert refused(admit, EMPTY, runtime=HostileRuntime(compiling="fail")).reason == "compile_failed"


def test_descriptors_are_closed_after_success_and_failure(admit: Admit) -> None:
    admit(EMPTY)
    before = len(os.listdir("/dev/fd"))
    for how in ("fail", "crash", "raise", "work"):
        with contextlib.suppress(PlasmError):
            admit(EMPTY, runtime=HostileRuntime(compiling=how))
    with contextlib.suppress(PlasmError):
        admit(b"\0asm")

    assert len(os.listdir("/dev/fd")) == before


# -- the policy, and what the manifest names


def test_a_capability_that_is_not_granted_is_refused_before_anything_is_done(bench: Bench) -> None:
    phases: list[str] = []

    with pytest.raises(RefusedError) as caught:
        bench.run("gas_empty", grants=["clock.real"], progress=phases.append)

    assert caught.value.reason == "capability_denied"
    assert "clock.real" in str(caught.value)
    assert caught.value.hint is not None
    assert phases == []


def test_a_node_that_grants_one_capability_does_not_grant_the_other(granting_bench: Bench) -> None:
    node = granting_bench.node
    node.config = attrs.evolve(node.config, policy=attrs.evolve(node.config.policy, grants=("clock.real",)))

    with pytest.raises(RefusedError) as caught:
        granting_bench.run("gas_empty", grants=["clock.real", "random.real"])

    assert "random.real" in str(caught.value)
    assert "clock.real" not in str(caught.value)


def test_a_granted_clock_is_real_and_the_receipt_says_so(granting_bench: Bench) -> None:
    script = Script()
    script.call("clock_time_get", REALTIME, 0, 0)
    script.call("clock_time_get", MONOTONIC, 0, 8)
    before = time.time_ns()

    ended = granting_bench.run("calls", stdin=script.image(), grants=["clock.real"])

    done = script.done(ended.stdout, ended.stderr)
    assert before <= done.u64(0) <= time.time_ns()
    assert 0 <= done.u64(8) < 60 * 10**9
    assert ended.receipt.asked.capabilities == ("clock.real",)
    assert not ended.receipt.result.reproducible
    assert ended.outcome == exited(0)


def test_granted_randomness_is_real_and_the_receipt_says_so(granting_bench: Bench) -> None:
    script = Script()
    script.call("random_get", 0, 64)

    runs = [granting_bench.run("calls", stdin=script.image(), grants=["random.real"]) for _ in range(2)]

    first, second = (script.done(ended.stdout, ended.stderr).memory[:64] for ended in runs)
    assert first != second
    assert len(set(first)) > 8
    assert not any(ended.receipt.result.reproducible for ended in runs)


def test_a_job_that_asks_for_nothing_gets_nothing_where_all_is_granted(granting_bench: Bench) -> None:
    script = Script()
    script.call("clock_time_get", MONOTONIC, 0, 0)

    ended = granting_bench.run("calls", stdin=script.image())

    assert script.done(ended.stdout, ended.stderr).u64(0) == 0
    assert ended.receipt.result.reproducible


def test_inputs_that_differ_from_their_manifest_are_refused(bench: Bench) -> None:
    inputs = JobInput(args=(b"a",), env=(b"A=1",), stdin=b"in")
    manifest = manifest_for(EMPTY, inputs)
    others = [
        (module_named("exit"), inputs),
        (EMPTY, attrs.evolve(inputs, args=(b"a", b""))),
        (EMPTY, attrs.evolve(inputs, env=())),
        (EMPTY, attrs.evolve(inputs, stdin=b"in\n")),
    ]
    for module, given in others:
        with pytest.raises(RefusedError) as caught:
            run_job(bench.node, module, given, manifest, lambda _stream, _data: None)
        assert caught.value.reason == "digest_mismatch"
