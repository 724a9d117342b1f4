"""Compute consistency.json from docs/receipts.md, with nothing of Plasm's own code.

`python -m tests.vectors.generate_consistency` writes the file again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vectors.generate import PLAIN_TASK, SEED, compact, peer_id, public_key, sha256, task_preimage
from tests.vectors.generate import manifest as manifest_of

Json = dict[str, Any]

FILE = Path(__file__).with_name("consistency.json")
NOTHING = sha256(b"")
OUTPUT, OTHER = sha256(b"hello\n"), sha256(b"other\n")
GAS, OUTPUT_BYTES, ATTEMPTS = 1_000_000, 100, 3
TASK: Json = {**PLAIN_TASK, "gas": str(GAS), "output": str(OUTPUT_BYTES)}
HUGE = str(2**64 - 1)


def statement(changes: Json, task: Json = TASK) -> Json:
    """Return an honest statement with changes. Dotted names are paths within `predicate`."""
    digests = {"stdout": NOTHING, "stderr": NOTHING}
    digests |= {name: changes[name] for name in digests if name in changes}
    names = ("profile", "module", "args", "env", "stdin", "seed")
    predicate: Json = {
        "asked": {
            "jobId": sha256(compact(manifest_of(task)).encode()),
            "taskDigest": sha256(task_preimage(task)),
            **{name: task[name] for name in names},
            "limits": {"gas": task["gas"], "memoryBytes": task["memory"], "outputBytes": task["output"]},
            "capabilities": sorted(task["capabilities"]),
        },
        "result": {
            "outcome": {"kind": "exited", "code": 0},
            "reproducible": not task["capabilities"],
            "gasUsed": "5650",
            "gasSchedule": "plasm.gas/v1",
            "stdoutBytes": "0",
            "stderrBytes": "0",
        },
        "claims": {
            "startedAt": "2026-01-02T03:04:05.006Z",
            "finishedAt": "2026-01-02T03:04:05.149Z",
            "wallTimeMs": "143",
            "cpuTimeMs": "140",
            "peakMemoryBytes": "46137344",
            "runtime": {"name": "wasmtime", "version": "50.0.1"},
            "isolation": "process",
            "attempt": 1,
        },
        "node": {"peerId": peer_id(public_key(SEED))},
    }
    for path, value in changes.items():
        if path in digests:
            continue
        *parents, last = path.split(".")
        target = predicate
        for name in parents:
            target = target[name]
        target[last] = value
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": value}} for name, value in digests.items()],
        "predicateType": "urn:phase:receipt:v0",
        "predicate": predicate,
    }


def result(kind: str, gas: int | str, **more: Any) -> Json:
    """Return the changes that give a statement another result. `out`, `err`: sizes and digests."""
    outcome = {"kind": kind}
    outcome |= {name: more[name] for name in ("code", "trap", "detail") if name in more}
    changes: Json = {"result.outcome": outcome, "result.gasUsed": str(gas)}
    for short, name in (("out", "stdout"), ("err", "stderr")):
        if short in more:
            size, changes[name] = more[short]
            changes[f"result.{name}Bytes"] = str(size)
    return changes


def times(started: str, finished: str, wall_ms: int | str, cpu_ms: int | str = 0, **more: Any) -> Json:
    return {
        "claims.startedAt": started,
        "claims.finishedAt": finished,
        "claims.wallTimeMs": str(wall_ms),
        "claims.cpuTimeMs": str(cpu_ms),
        **{f"claims.{name}": value for name, value in more.items()},
    }


DAY = "2026-01-02T03:04:"


def accepted() -> Iterator[tuple[str, Json]]:
    """What honest nodes produce: every outcome, and each rule at its edge."""
    yield "as it should be", {}
    yield "the least gas a run takes", result("exited", 1, code=0)
    yield "the greatest exit code", result("exited", 10, code=2**32 - 1)
    yield "exited with the last of its gas", result("exited", GAS, code=0)
    yield "trapped at once", result("trapped", 1, trap="unreachable")
    yield "trapped with the last of its gas", result("trapped", GAS, trap="stack_exhausted")
    yield "out of gas", result("out_of_gas", GAS)
    yield "out of gas with output", result("out_of_gas", GAS, out=(6, OUTPUT), err=(6, OTHER))
    yield "as much output as its gas pays for", result("exited", 1_015, code=0, out=(6, OUTPUT))
    yield "the same output twice", result("exited", 2_029, code=0, out=(6, OUTPUT), err=(6, OUTPUT))
    yield "as much output as is allowed", result("exited", 5_000, code=0, out=(100, OUTPUT), err=(100, OTHER))
    yield "the output limit reached on stdout", result("output_limit", 1_110, out=(100, OUTPUT))
    yield (
        "the output limit reached on stderr",
        result("output_limit", 2_200, out=(6, OUTPUT), err=(100, OTHER)),
    )
    for kind in ("timed_out", "cancelled", "system_error"):
        yield f"{kind}, of which the node knows nothing", result(kind, 0)
        yield f"{kind}, with output and no gas", result(kind, 0, out=(100, OUTPUT), detail="as it happened")
        yield f"{kind}, with gas", result(kind, GAS)
    moment = DAY + "05Z"
    yield "a run that never began", {**result("cancelled", 0), **times(moment, moment, 0)}
    yield "rounded to the next millisecond", times(DAY + "05Z", DAY + "05.000500Z", 1)
    yield "the clock was read late", times(DAY + "05Z", DAY + "06.500Z", 1_000)
    yield "the clock was read early", times(DAY + "05Z", DAY + "05.500Z", 1_000)
    yield "a node without a clock", times("1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", 1_000)
    yield "the end of clocks", times("2262-04-11T23:47:15Z", "2262-04-11T23:47:15.999999Z", 1_000)
    yield "a job of a day", times("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", 86_400_000, 86_400_000)
    yield "processor time before the job came", times(DAY + "05Z", DAY + "06Z", 1_000, 3_000)
    yield "a worker that served others before", times(moment, moment, 0, 86_402_000, isolation="shared")
    yield "the greatest peak of memory", {"claims.peakMemoryBytes": HUGE}
    yield "the last attempt", {"claims.attempt": ATTEMPTS}


def rejected() -> Iterator[tuple[str, list[str], Json]]:
    """What contradicts itself, and the rules that it breaks."""
    gas, least = ["gas-within-limit"], ["gas-covers-run"]
    yield "gas above the limit by one", gas, result("exited", GAS + 1, code=0)
    yield "gas beyond a limit of any task", gas, result("exited", HUGE, code=0)
    for kind in ("out_of_gas", "timed_out", "cancelled", "system_error"):
        yield f"{kind} with gas above the limit", gas, result(kind, GAS + 1)
    yield "trapped with gas above the limit", gas, result("trapped", GAS + 1, trap="unreachable")
    yield "out of gas with some left", ["out-of-gas-at-limit"], result("out_of_gas", GAS - 1)
    yield "out of gas without gas", ["out-of-gas-at-limit", *least], result("out_of_gas", 0)
    yield "exited without gas", least, result("exited", 0, code=0)
    yield "trapped without gas", least, result("trapped", 0, trap="unreachable")
    yield "output that its gas does not pay for", least, result("exited", 1_014, code=0, out=(6, OUTPUT))
    both = result("trapped", 2_028, trap="unreachable", out=(6, OUTPUT), err=(6, OTHER))
    yield "two outputs that its gas does not pay for", least, both
    limit = "output-limit-reached"
    yield (
        "the output limit for less gas than it costs",
        least,
        result("output_limit", 1_109, out=(100, OUTPUT)),
    )
    yield "the output limit without output", [limit], result("output_limit", 5_000)
    yield "the output limit with one byte missing", [limit], result("output_limit", 5_000, out=(99, OUTPUT))
    above = ["output-within-limit"]
    yield "stdout above the limit", above, result("exited", 5_000, code=0, out=(101, OUTPUT))
    yield "stderr above the limit", above, result("exited", 5_000, code=0, err=(101, OUTPUT))
    yield "stdout beyond any limit", above, result("exited", 5_000, code=0, out=(HUGE, OUTPUT))
    yield "timed_out with stdout above the limit", above, result("timed_out", 0, out=(101, OUTPUT))
    yield "output_limit with stdout above it", above, result("output_limit", 5_000, out=(101, OUTPUT))
    empty = ["empty-output-digest"]
    yield (
        "bytes on stdout with the digest of nothing",
        empty,
        result("exited", 5_000, code=0, out=(6, NOTHING), err=(6, OTHER)),
    )
    yield (
        "bytes on stderr with the digest of nothing",
        empty,
        result("cancelled", 0, out=(6, OTHER), err=(6, NOTHING)),
    )
    yield "no bytes on stdout with a digest of some", empty, result("exited", 5_000, code=0, out=(0, OUTPUT))
    yield "no bytes on stderr with a digest of some", empty, result("timed_out", 0, err=(0, OUTPUT))
    same = result("exited", 5_000, code=0, out=(6, OUTPUT), err=(7, OUTPUT))
    yield "one digest for two sizes", ["same-digest-same-size"], same
    both_empty = result("exited", 5_000, code=0, out=(0, NOTHING), err=(6, NOTHING))
    yield "nothing and something of one digest", [*empty, "same-digest-same-size"], both_empty
    order, span, clock = "finished-after-started", "wall-time-is-span", "clock-range"
    yield "finished a moment before it started", [order], times(DAY + "05.000001Z", DAY + "05Z", 0)
    yield "finished long before it started", [order, span], times(DAY + "05Z", "2001-01-01T00:00:00Z", 143)
    yield "wall time too short", [span], times(DAY + "05Z", DAY + "06Z", 1)
    yield "wall time too long", [span], times(DAY + "05Z", DAY + "06Z", 3_600_000)
    yield "wall time off by just too much", [span], times(DAY + "05Z", DAY + "06.500001Z", 1_000)
    yield "wall time under by just too much", [span], times(DAY + "05Z", DAY + "05.499999Z", 1_000)
    yield "no wall time at all", [span], times(DAY + "05Z", DAY + "06Z", 0)
    yield "wall time beyond all times", [span], times(DAY + "05Z", DAY + "06Z", HUGE)
    yield "in the year 9999", [clock], times("9999-12-31T23:59:58Z", "9999-12-31T23:59:59Z", 1_000)
    yield "in the year 1", [clock], times("0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z", 1_000)
    yield "just before 1970", [clock], times("1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", 0)
    yield "just behind the end of clocks", [clock], times("2262-04-11T23:47:16Z", "2262-04-11T23:47:16Z", 0)
    ages = times("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", 315_537_897_600_000)
    yield "it took all ages", [clock], ages
    cpu = ["processor-within-wall-time"]
    yield "more processor time than wall time", cpu, times(DAY + "05Z", DAY + "06Z", 1_000, 3_001)
    yield "processor time beyond all times", cpu, times(DAY + "05Z", DAY + "06Z", 1_000, HUGE)
    shared = times(DAY + "05Z", DAY + "06Z", 1_000, 86_403_001, isolation="shared")
    yield "more processor time than a shared worker may have", cpu, shared
    yield "more attempts than were allowed", ["attempt-within-retries"], {"claims.attempt": ATTEMPTS + 1}


def case(name: str, breaks: list[str], changes: Json, task: Json = TASK) -> Json:
    return {
        "name": name,
        "statement": compact(statement(changes, task)),
        "manifest": compact(manifest_of(task)),
        "breaks": breaks,
    }


def other_tasks() -> list[Json]:
    """Return cases over other limits, and one that breaks nearly every rule."""
    silent, real = {**TASK, "output": "0"}, {**TASK, "capabilities": ["clock.real"]}
    poor = {**TASK, "gas": "1"}
    everything = {
        **result("output_limit", GAS + 1, out=(5, NOTHING), err=(6, NOTHING)),
        **times("9999-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 5, HUGE, attempt=100),
    }
    rules = ["gas-within-limit", "output-limit-reached", "empty-output-digest", "same-digest-same-size"]
    rules += ["clock-range", "finished-after-started", "wall-time-is-span", "processor-within-wall-time"]
    rules += ["attempt-within-retries"]
    return [
        case("no output allowed, and tried", [], result("output_limit", 1_500), silent),
        case(
            "output where none is allowed",
            ["output-within-limit"],
            result("exited", 5_000, code=0, out=(1, OUTPUT)),
            silent,
        ),
        case("a run that cannot be reproduced", [], {}, real),
        case(
            "it cannot be reproduced, and is out of gas with some left",
            ["out-of-gas-at-limit"],
            result("out_of_gas", 5),
            real,
        ),
        case("a limit of one", [], result("out_of_gas", 1), poor),
        case("above a limit of one", ["gas-within-limit"], result("out_of_gas", 2), poor),
        case("all at once", rules, everything),
    ]


def main() -> None:
    """Write the file."""
    cases = [case(name, [], changes) for name, changes in accepted()]
    cases += [case(name, sorted(breaks), changes) for name, breaks, changes in rejected()]
    cases += [{**item, "breaks": sorted(item["breaks"])} for item in other_tasks()]
    assert len({item["name"] for item in cases}) == len(cases)
    text = json.dumps({"cases": cases}, indent=2, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
