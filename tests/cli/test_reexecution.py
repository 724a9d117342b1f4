"""Run jobs again, on the engines that are here, with the real command and the real sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core.errors import PlasmError, RefusedError
from plasm_core.records import Asked, Envelope, JobInput, Observables, Outcome, Receipt, manifest_for
from plasm_core.reexecution import NodeLaboratory
from plasm_core.signing import sign_receipt
from plasm_core.testing.bench import AMPLE, Bench, open_bench
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from plasm_signer_ed25519 import Ed25519Signer
from tests.support.cli import HELLO, OK, REJECTED, UNDECIDED, Done, Plasm
from tests.support.wat import FOREVER, starting, writing

Here = Callable[..., Done]
BOTH = ("--verifier", "signature,reexecute")
OTHER = "wasm3"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(WasmtimeRuntime(), tmp_path_factory.getbasetemp() / "bench") as bench:
        yield bench


def again(bench: Bench, module: bytes, inputs: JobInput, *, of: JobInput) -> Observables:
    """Run a module with inputs, where others were asked for."""
    manifest = manifest_for(module, of, limits=AMPLE)
    laboratory = NodeLaboratory(bench.node, lambda: (module, inputs))
    return laboratory.run(Asked.of(manifest, "ab" * 32), runtime="wasmtime", wall_time_s=1)


@pytest.mark.parametrize("runtime", ["wasmtime", OTHER])
def test_a_job_run_again_is_observed_as_it_was(bench: Bench, runtime: str) -> None:
    if runtime == OTHER:
        pytest.importorskip(OTHER)
    code = Path(HELLO).read_bytes()
    ended = bench.run(code, args=[b"x"], env=[b"A=b"], stdin=b"in")
    inputs = JobInput(args=(b"x",), env=(b"A=b",), stdin=b"in")
    laboratory = NodeLaboratory(bench.node, lambda: (code, inputs))

    found = laboratory.run(ended.receipt.asked, runtime=runtime, wall_time_s=60)
    assert found == Observables.of(ended.receipt)
    assert found.stdout_bytes == len(ended.stdout) > 0


def test_the_phases_of_a_second_run_are_told(bench: Bench) -> None:
    """Half a minute of compiling without a word looks like a command that hangs."""
    module = starting("(drop (i32.const 71077345))")  # no other test has it in the cache
    asked = bench.run(module).receipt.asked
    phases = list[str]()
    laboratory = NodeLaboratory(bench.node, lambda: (module, JobInput()), progress=phases.append)

    laboratory.run(asked, runtime="wasmtime", wall_time_s=60)
    assert phases[-1] == "running again"


@pytest.mark.parametrize("what", ["args", "env", "stdin"])
def test_other_input_than_was_asked_for_is_not_run(bench: Bench, what: str) -> None:
    others = {"args": JobInput(args=(b"x",)), "env": JobInput(env=(b"A=b",)), "stdin": JobInput(stdin=b"x")}
    with pytest.raises(RefusedError, match=f"^not at hand: the job's {what}$"):
        again(bench, writing(b"x"), JobInput(), of=others[what])


def test_another_module_than_was_asked_for_is_not_looked_at(bench: Bench) -> None:
    asked = bench.run("echo").receipt.asked
    laboratory = NodeLaboratory(bench.node, lambda: (b"no module", JobInput()))

    for use in (
        lambda: laboratory.runtimes(asked, ["wasmtime"]),
        lambda: laboratory.run(asked, runtime="wasmtime", wall_time_s=1),
    ):
        with pytest.raises(RefusedError, match=r"^not at hand: the job's module$"):
            use()


def test_a_run_that_does_not_end_is_ended(bench: Bench) -> None:
    module = starting(FOREVER)
    manifest = manifest_for(module, JobInput(), limits=attrs.evolve(AMPLE, gas=1 << 50))
    asked = Asked.of(manifest, "ab" * 32)
    found = NodeLaboratory(bench.node, lambda: (module, JobInput())).run(
        asked, runtime="wasmtime", wall_time_s=1
    )

    assert found.outcome.kind == "timed_out"


def test_only_engines_that_are_installed_and_able_are_offered(bench: Bench) -> None:
    simd = starting("(drop (v128.any_true (v128.const i64x2 1 2)))")
    asked = bench.run(simd).receipt.asked
    laboratory = NodeLaboratory(bench.node, lambda: (simd, JobInput()))

    assert laboratory.runtimes(asked, [OTHER, "nothing", "wasmtime"]) == ("wasmtime",)
    pytest.importorskip(OTHER)
    with pytest.raises(RefusedError, match=r"^no engine: the runtime wasm3 lacks simd; ") as caught:
        laboratory.runtimes(asked, [OTHER, "nothing"])
    assert "clang: -mno-simd128" in (caught.value.hint or "")


def test_a_node_that_grants_no_real_time_runs_no_job_with_it_again(bench: Bench) -> None:
    module = writing(b"x")
    manifest = manifest_for(module, JobInput(), limits=AMPLE, grants=["clock.real"])
    asked = Asked.of(manifest, "ab" * 32)
    laboratory = NodeLaboratory(bench.node, lambda: (module, JobInput()))

    with pytest.raises(PlasmError, match="does not grant"):
        laboratory.run(asked, runtime="wasmtime", wall_time_s=1)


# -- the command


@attrs.frozen
class Ran:
    receipt: Path
    err: str


@pytest.fixture(scope="module")
def ran(plasm: Plasm, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    receipt = tmp_path_factory.mktemp("ran") / "r.json"
    done = plasm("run", HELLO, "x", "--env", "A=b", *BOTH, "--receipt", str(receipt))
    assert done.code == OK
    return Ran(receipt, done.err)


def where() -> str:
    """Return on which engine a receipt of wasmtime is expected to be re-executed."""
    try:
        __import__(OTHER)
    except ImportError:
        return "wasmtime, the same engine"
    return OTHER


GIVEN = ("--module", HELLO, "--arg", "x", "--env", "A=b")
ENGINES = ("--set", 'verifier.reexecute.runtimes=["wasmtime", "wasm3"]')
"""Not wasmer: whether it is here depends on the Python."""


def test_a_run_is_executed_again_on_another_engine_and_reported(here: Here) -> None:
    done = here("run", HELLO, "--stdin", "/dev/null", *BOTH, *ENGINES)

    assert done.code == OK
    assert done.err.splitlines()[-1].endswith(f", re-executed on {where()}")


def test_a_receipt_is_verified_by_running_its_job_again(here: Here, ran: Ran) -> None:
    done = here("verify", str(ran.receipt), *GIVEN, *BOTH, *ENGINES)

    assert done.code == OK
    first, _ = done.out.decode().splitlines()
    assert first.endswith(f", module, args, env as expected, re-executed on {where()}")


def test_a_re_execution_on_the_same_engine_is_reported_as_such(here: Here, ran: Ran) -> None:
    only = ("--set", 'verifier.reexecute.runtimes=["wasmtime"]')
    done = here("verify", str(ran.receipt), *GIVEN, *BOTH, *only)

    assert done.code == OK
    assert "re-executed on wasmtime, the same engine\n" in done.out.decode()


def test_engines_that_could_not_run_it_again_are_named_if_no_other_did(here: Here, tmp_path: Path) -> None:
    pytest.importorskip(OTHER)
    simd, receipt = tmp_path / "simd.wasm", str(tmp_path / "r.json")
    simd.write_bytes(starting("(drop (v128.any_true (v128.const i64x2 1 2)))"))
    assert here("run", str(simd), "--stdin", "/dev/null", "--receipt", receipt).code == OK
    done = here("verify", receipt, "--module", str(simd), *BOTH, *ENGINES)

    assert done.code == OK
    first, second, *_ = done.out.decode().splitlines()
    assert first.endswith("re-executed on wasmtime, the same engine")
    assert second == "! no other engine ran it again: the runtime wasm3 lacks simd"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((), "the job's module and input are not at hand to run it again"),
        (("--module", HELLO), "it could not be run again: not at hand: the job's args, env"),
        (("--module", HELLO, "--arg", "x"), "it could not be run again: not at hand: the job's env"),
    ],
)
def test_a_missing_file_is_named_and_leaves_the_verdict_undecided(
    here: Here, ran: Ran, given: tuple[str, ...], why: str
) -> None:
    done = here("verify", str(ran.receipt), *given, *BOTH)

    assert done.code == UNDECIDED
    assert done.out.decode() == f"? receipt undecided: {why}\n"


@pytest.mark.parametrize("given", [("--arg", "y"), ("--env", "A=c")])
def test_another_argument_than_the_receipts_is_rejected(here: Here, ran: Ran, given: tuple[str, str]) -> None:
    assert here("verify", str(ran.receipt), *given).code == REJECTED


def test_re_execution_alone_accepts_nothing(here: Here, ran: Ran) -> None:
    """The sum is right, but who says that this node did it?"""
    done = here("verify", str(ran.receipt), *GIVEN, "--verifier", "reexecute")

    assert done.code == UNDECIDED
    assert "no verifier established the signature" in done.out.decode()


def test_input_may_come_from_a_pipe(plasm: Plasm, tmp_path: Path) -> None:
    receipt = str(tmp_path / "r.json")
    assert plasm("run", HELLO, "--receipt", receipt, stdin=b"abc").code == OK

    done = plasm("verify", receipt, "--module", HELLO, "--stdin", "-", *BOTH, *ENGINES, stdin=b"abc")
    assert done.code == OK
    assert "stdin as expected, re-executed on " in done.out.decode()


LIES: list[tuple[Callable[[Receipt], Receipt], str]] = [
    (
        lambda of: attrs.evolve(of, result=attrs.evolve(of.result, gas_used=of.result.gas_used - 1)),
        "gas used is 4",
    ),
    (lambda of: attrs.evolve(of, stdout="ab" * 32), "stdout is "),
    (
        lambda of: attrs.evolve(
            of,
            stderr=of.stdout,
            result=attrs.evolve(of.result, stderr_bytes=of.result.stdout_bytes),
        ),
        "stderr is ",
    ),
    (
        lambda of: attrs.evolve(
            of, result=attrs.evolve(of.result, outcome=Outcome(kind="trapped", trap="unreachable"))
        ),
        "outcome is exited with code 0, not trapped: unreachable",
    ),
]


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_a_node_that_signed_a_false_receipt_is_detected(
    plasm: Plasm, here: Here, ran: Ran, tmp_path: Path, lie: Callable[[Receipt], Receipt], reason: str
) -> None:
    """Its key is good and trusted: only running the job again tells."""
    key = plasm.home / "state" / "plasm" / "node.key"
    true = Receipt.from_statement(Envelope.from_json(ran.receipt.read_bytes()).payload)
    forged = tmp_path / "forged.json"
    forged.write_bytes(sign_receipt(lie(true), Ed25519Signer(key=str(key))).to_json())

    assert here("verify", str(forged), *GIVEN).code == OK
    done = here("verify", str(forged), *GIVEN, *BOTH, *ENGINES)
    assert done.code == REJECTED
    assert f"re-executed on {where()}: {reason}" in done.out.decode()
