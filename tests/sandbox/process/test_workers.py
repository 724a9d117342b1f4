"""Run jobs on workers that were taken over by their guest, and callers that fail: there is an outcome, soon."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from plasm_core.config import SandboxConfig
from plasm_core.errors import PlasmError, RefusedError
from plasm_core.records import Outcome
from plasm_core.sandbox.process.worker_frames import JOB, OUTCOME, STDERR, STDOUT, frame, pack_outcome
from plasm_core.testing.bench import Bench, exited
from tests.sandbox.hostile.engine import HANG_S
from tests.sandbox.hostile.runtime import HostileRuntime
from tests.sandbox.modules import wat

Hostile = Callable[..., Bench]

OUTPUT_BYTES = 1_000
GAS = 5_000


def run(hostile_bench: Hostile, payload: bytes, *, then: str = "hang") -> tuple[Outcome, bytes, float]:
    """Run a job whose worker sends some bytes. Return its outcome, its stdout, and how many seconds it took."""
    bench = hostile_bench(HostileRuntime(payload=payload.hex(), then=then))
    ended = bench.run("gas_empty", gas=GAS, output_bytes=OUTPUT_BYTES, wall_time_s=20)
    return ended.outcome, ended.stdout, int(ended.receipt.claims.wall_time_ms) / 1_000


def outcome_frame(**fields: int | str) -> bytes:
    """Encode an outcome, one that an honest worker could send but for these fields."""
    whole: dict[str, int | str] = {"kind": "exited", "gas_used": 1, "cpu_us": 0, "peak_memory": 0, **fields}
    kind = str(whole.pop("kind"))
    detail = str(whole.pop("detail", ""))
    numbers = {name: int(value) for name, value in whole.items()}
    return frame(OUTCOME, pack_outcome(kind, detail=detail, **numbers))


@pytest.mark.parametrize(
    "payload",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100),
        b"\xff" * 100,
        frame(JOB, b""),
        frame(4, b""),
        struct.pack("<BI", STDOUT, 2**32 - 1),
        struct.pack("<BI", OUTCOME, 4_097),
        frame(OUTCOME, b""),
        frame(OUTCOME, b"[" * 4_096),
        frame(OUTCOME, b"\xff" * 100),
        outcome_frame(gas_used=GAS + 1),
        outcome_frame(gas_used=2**64 - 1),
        outcome_frame(kind="trapped", trap=200),
        outcome_frame(peak_memory=2**64 - 1),
        outcome_frame(cpu_us=2**64 - 1),
        frame(STDOUT, bytes(OUTPUT_BYTES + 1)),
        frame(STDERR, bytes(OUTPUT_BYTES)) + frame(STDERR, b"x"),
    ],
    ids=range(17),
)
def test_an_invalid_message_of_a_worker_ends_the_job_at_once(hostile_bench: Hostile, payload: bytes) -> None:
    """The worker would run on for long: it is killed, and the outcome is not recheckable."""
    outcome, _, seconds = run(hostile_bench, payload)

    assert outcome.kind == "system_error"
    assert seconds < HANG_S - 1


def test_output_before_nonsense_is_kept_and_no_more_than_the_limit(hostile_bench: Hostile) -> None:
    whole = frame(STDOUT, b"a" * OUTPUT_BYTES) + frame(STDOUT, b"b")

    outcome, stdout, _ = run(hostile_bench, whole)

    assert outcome.kind == "system_error"
    assert stdout == b"a" * OUTPUT_BYTES


def test_only_the_first_outcome_counts(hostile_bench: Hostile) -> None:
    for second in (outcome_frame(code=8), b"\xff" * 50, frame(STDOUT, b"late")):
        outcome, stdout, seconds = run(hostile_bench, outcome_frame(code=7) + second)

        assert outcome in (exited(7), Outcome(kind="system_error", detail=outcome.detail))
        assert stdout == b""
        assert seconds < HANG_S - 1


def test_a_worker_that_stays_behind_its_outcome_holds_nobody_up(hostile_bench: Hostile) -> None:
    outcome, _, seconds = run(hostile_bench, outcome_frame(code=7))

    assert outcome == exited(7)
    assert seconds < HANG_S - 1


@pytest.mark.parametrize("kind", ["exited", "out_of_gas", "output_limit", "trapped"])
def test_detail_is_for_the_nodes_own_claims(hostile_bench: Hostile, kind: str) -> None:
    """A guest must not put words into a receipt that others take for re-checkable."""
    outcome, _, _ = run(hostile_bench, outcome_frame(kind=kind, detail="trust me"))

    assert outcome.kind in (kind, "system_error")
    assert "trust me" not in str(outcome)


@pytest.mark.parametrize("then", ["exit", "crash", "raise"])
def test_a_worker_that_dies_leaves_an_outcome(hostile_bench: Hostile, then: str) -> None:
    outcome, _, _ = run(hostile_bench, b"", then=then)

    assert outcome.kind == "system_error"
    assert outcome.detail


def test_an_engines_failure_is_reported_in_printable_text(hostile_bench: Hostile) -> None:
    outcome, _, _ = run(hostile_bench, b"", then="fail")

    assert outcome.kind == "system_error"
    assert outcome.detail is not None
    assert "it broke" in outcome.detail
    assert outcome.detail.isprintable()


def test_a_worker_that_does_nothing_is_ended_by_the_wall_time(hostile_bench: Hostile) -> None:
    bench = hostile_bench(HostileRuntime(then="hang"))

    ended = bench.run("gas_empty", wall_time_s=1)

    assert ended.outcome.kind == "timed_out"
    assert int(ended.receipt.claims.wall_time_ms) < 1_000 * (HANG_S - 1)


@pytest.mark.parametrize("then", ["return", "dawdle"])
def test_extra_output_of_a_shared_worker_is_not_given_to_the_next_job(
    hostile_bench: Hostile, then: str
) -> None:
    """The worker sends one outcome as its guest and one as itself: the second must not count for another job.

    A slow one sends it after it got the next job, long before it answers that job.
    """
    runtime = HostileRuntime(payload=outcome_frame(code=7).hex(), then=then)
    bench = hostile_bench(runtime, sandbox=SandboxConfig(isolation="shared"))

    outcomes = [bench.run("gas_empty", gas=GAS).outcome for _ in range(4)]

    # Whether both come at once is chance: then the worker is known to lie, and nothing it says is signed. So it
    # is where one is of another job.
    assert all(outcome == exited(7) or outcome.kind == "system_error" for outcome in outcomes)


# -- the caller's side


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError("the reader went away"),
        OSError(28, "no space left on device"),
        TimeoutError(),
        ValueError("closed file"),
        KeyError(1),
        RuntimeError(),
    ],
    ids=repr,
)
def test_an_exception_of_the_callers_output_is_raised(bench: Bench, error: Exception) -> None:
    """Otherwise a full disk or a closed pipe gets a signed receipt that blames the job's worker."""

    def output(_stream: int, _data: bytes) -> None:
        raise error

    with pytest.raises(type(error)):
        bench.run("gas_host", output=output)


def test_a_caller_that_fails_leaves_no_worker_behind(bench: Bench) -> None:
    class Interrupted(BaseException):
        pass

    def output(_stream: int, _data: bytes) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        bench.run("flood", stdin=struct.pack("<II", 1, 16_000), gas=2**50, output_bytes=2**40, output=output)
    assert bench.run("gas_empty").outcome == exited(0)


def test_output_written_before_a_job_was_ended_is_kept(bench: Bench) -> None:
    """A job that hangs says where in what it wrote last."""
    module = wat(
        """(module
          (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\\10\\00\\00\\00\\07\\00\\00\\00")
          (data (i32.const 16) "step 1\\0a")
          (func (export "_start")
            (drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 64)))
            (loop (br 0))))"""
    )

    ended = bench.run(module, gas=2**53 - 1, wall_time_s=1)

    assert ended.outcome.kind == "timed_out"
    assert ended.stderr == b"step 1\n"


def test_input_that_no_worker_takes_is_refused_before(bench: Bench) -> None:
    """70 MB of arguments are more than a frame holds. That is the sender's fault, not the node's."""
    try:
        ended = bench.run("gas_empty", args=[bytes([65]) * (70 << 20)])
    except RefusedError:
        return
    assert ended.outcome == exited(0)


@pytest.mark.parametrize(
    "given", [{"args": [b"a\0b"]}, {"env": [b"A=\0"]}, {"env": [b"no equals sign"]}], ids=repr
)
def test_strings_that_a_guest_would_see_otherwise_are_refused(
    bench: Bench, given: dict[str, list[bytes]]
) -> None:
    """A NUL ends a string in WASI: the guest would get others than the task digest names."""
    with pytest.raises((PlasmError, ValueError)):
        bench.run("gas_empty", args=given.get("args", ()), env=given.get("env", ()))
