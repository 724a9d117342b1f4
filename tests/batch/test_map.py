"""`plasm map` against a real daemon: results in order, failures told, nothing lost or doubled by a kill."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.receipts import ROOT
from tests.support.wat import starting

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")


def accepted(daemon: Daemon) -> int:
    """Return how many jobs the daemon has accepted."""
    found = re.search(rb'plasm_jobs_accepted_total\{route="here"\} (\d+)', daemon.plasm("metrics").stdout)
    return int(found[1]) if found else 0


def ended(batch: Path) -> int:
    """Return how many jobs of a batch have ended, while another process works on it."""
    try:
        sql = sqlite3.connect(f"file:{batch / 'batch.sqlite'}?mode=ro", uri=True, timeout=10)
    except sqlite3.OperationalError:
        return 0
    try:
        return int(sql.execute("SELECT count(*) FROM jobs WHERE outcome IS NOT NULL").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # its tables are about to be made
    finally:
        sql.close()


def test_results_come_in_the_order_of_the_inputs(daemon: Daemon) -> None:
    done = daemon.plasm("map", HELLO, "--lines", "-", stdin=b"".join(b"%03d\n" % n for n in range(40)))

    assert done.stdout == b"".join(b"%s\n" % (b"%03d" % n)[::-1] for n in range(40))
    assert b"40 of 40 jobs succeeded" in done.stderr


def test_a_table_fills_arguments(daemon: Daemon, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\nx,1\ny y,2\n")

    done = daemon.plasm(
        "map", HELLO, "--csv", str(table), "--arg", "{a} {b}", "--format", "jsonl", "--", "{n}"
    )

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["stdout"] for item in found] == ["1 x 0\n", "2 y y 1\n"]
    assert [item["outcome"] for item in found] == [
        {"kind": "exited", "code": 0, "trap": None, "detail": None}
    ] * 2


def points_inside(seed: int, points: int) -> int:
    """Return what examples/monte_carlo_pi counts."""
    whole = (1 << 64) - 1
    state, inside = ((seed + 1) * 0x9E3779B97F4A7C15 + 1) & whole or 1, 0
    for _ in range(points):
        state ^= state >> 12
        state ^= state << 25 & whole
        state ^= state >> 27
        value = state * 0x2545F4914F6CDD1D & whole
        inside += (value >> 33) ** 2 + (value & 0x7FFFFFFF) ** 2 < 1 << 62
    return inside


def test_the_example_counts_as_its_source_says(daemon: Daemon, tmp_path: Path) -> None:
    example = ROOT / "examples" / "monte_carlo_pi"

    done = daemon.plasm("map", str(example / "pi.wasm"), "--range", "5", "--", "{}", "1000")

    assert done.stdout.decode() == "".join(f"{n},1000,{points_inside(n, 1000)}\n" for n in range(5))
    (tmp_path / "pi.csv").write_bytes(done.stdout)
    combined = subprocess.run(
        [sys.executable, str(example / "combine.py"), str(tmp_path / "pi.csv"), str(tmp_path / "pi.svg")],
        capture_output=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert b"from 5,000 points in 5 jobs" in combined.stdout
    assert (tmp_path / "pi.svg").read_text().startswith("<svg")


def test_files_are_named_one_after_another(daemon: Daemon, tmp_path: Path) -> None:
    """As a shell leaves them of `--inputs data/*`: they were arguments of every job once."""
    for name in ("a", "b", "c d"):
        (tmp_path / name).write_text(f"in {name}")
    files = sorted(str(path) for path in tmp_path.iterdir())

    done = daemon.plasm("map", HELLO, "--inputs", *files[:2], "--inputs", files[2], "--quiet")
    named = daemon.plasm("map", HELLO, "--quiet", "--inputs", *files, "--", "{stem}")
    late = daemon.plasm("map", "--inputs", *files, HELLO, check=False)

    assert done.stdout == b"a nib nid c ni"
    assert named.stdout == b"a\nb\nd c\n"
    assert late.returncode == 2
    assert b"MODULE comes before --inputs" in late.stderr


def test_each_job_has_a_folder_with_a_receipt_that_holds(daemon: Daemon, tmp_path: Path) -> None:
    daemon.plasm("map", HELLO, "--range", "2", "--out", str(tmp_path / "out"), "--", "v{}")

    place = tmp_path / "out" / "000001"
    assert (place / "stdout").read_bytes() == b"1v\n"
    checked = daemon.plasm("verify", str(place / "receipt.json"), "--stdout", str(place / "stdout"))
    assert b"receipt verified" in checked.stdout


def test_described_jobs_have_limits_of_their_own(daemon: Daemon, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"args": ["abc"]}\n{"name": "poor", "args": ["abc"], "gas": 10}\n')

    done = daemon.plasm("map", HELLO, "--jobs", str(jobs), check=False)

    assert done.returncode == 6
    assert done.stdout == b"cba\n"
    assert b"poor (line 2 of" in done.stderr
    assert b"out of gas" in done.stderr


def test_inputs_that_fail_are_listed_and_keep_nobody_else(
    daemon: Daemon, picky: Path, tmp_path: Path
) -> None:
    letters = b"a\n" * 15 + b"x\n" + b"a\n" * 15 + b"y\n"

    done = daemon.plasm(
        "map", str(picky), "--lines", "-", "--batch", str(tmp_path / "b"), stdin=letters, check=False
    )

    assert done.returncode == 6
    assert done.stdout == b"a" * 30
    assert b"30 of 32 jobs succeeded" in done.stderr
    assert re.search(rb"15 +line 16 of standard input +trapped: unreachable", done.stderr)
    assert re.search(rb"31 +line 32 of standard input +exited with code 3", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (
            ("--lines", "-", "--", "{seed}"),
            b"a\n",
            rb"line 1 of standard input: the template \{seed\} has the unknown field",
        ),
        (("--lines", "-"), b"", rb"there are no inputs"),
        (("--lines", "-"), b"x" * ((8 << 20) + 2), rb"line 1 of standard input has more than"),
        (("--inputs", "/"), b"", rb"the input / is a directory"),
        (("--range", "3", "--lines", "-"), b"", rb"name the inputs by one of"),
        ((), b"", rb"name the inputs by one of"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    daemon: Daemon, arguments: tuple[str, ...], stdin: bytes, problem: bytes
) -> None:
    kept = daemon.home / "state" / "plasm" / "batches"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, there = accepted(daemon), set(kept.iterdir())

    done = daemon.plasm("map", HELLO, *arguments, stdin=stdin, check=False)

    assert done.returncode in (1, 2)
    assert re.search(problem, b" ".join(done.stderr.split())), done.stderr
    assert accepted(daemon) == before
    assert set(kept.iterdir()) == there


def test_a_module_that_the_node_refuses_ends_the_batch(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "bad.wasm").write_bytes(b"no module")

    done = daemon.plasm("map", str(tmp_path / "bad.wasm"), "--range", "100", check=False)

    assert done.returncode == 1
    assert b"not a WebAssembly module" in done.stderr
    assert b"--resume" in done.stderr


def test_without_a_daemon_the_batch_is_kept(tmp_path: Path) -> None:
    with Daemon(tmp_path) as absent:
        done = absent.plasm(
            "map", HELLO, "--range", "2", "--batch", str(tmp_path / "b"), "--", "{}", check=False
        )
        assert done.returncode == 5
        assert b"no daemon answers" in done.stderr
        absent.start()

        resumed = absent.plasm("map", "--resume", str(tmp_path / "b"))

    assert resumed.stdout == b"0\n1\n"


def test_events_are_json(daemon: Daemon) -> None:
    done = daemon.plasm("map", HELLO, "--range", "3", "--json", "--format", "none", "--", "{}")

    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [item["event"] for item in events] == ["begin", "job", "job", "job", "end"]
    assert events[-1]["succeeded"] == 3
    assert done.stdout == b""


def test_a_terminal_shows_how_far_it_is(daemon: Daemon) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "plasm_core.cli", "map", HELLO, "--range", "20", "--format", "none"),
            "--",
            "{}",
        ],
        env={**daemon.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while data := os.read(ours, 65536):
            said += data
    os.close(ours)

    assert process.wait(DEADLINE_S) == 0, said
    lines = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", said).replace(b"\r", b"\n").split(b"\n")
    assert any(re.match(rb" *\d+ of 20 done, \d+ running, 0 failed, ", line) for line in lines), lines
    assert b"20 of 20 jobs succeeded" in said


def test_a_killed_batch_resumes_and_runs_nothing_twice(daemon: Daemon, tmp_path: Path) -> None:
    """The short form of what benchmarks/results/map.txt records."""
    jobs, batch, before = 60, tmp_path / "b", accepted(daemon)
    command = [sys.executable, "-m", "plasm_core.cli", "map"]
    begin = [HELLO, "--range", str(jobs), "--batch", str(batch), "--in-flight", "3", "--", "v{}"]
    for wanted in (5, 20, 35):
        process = subprocess.Popen(
            [*command, *begin], env=daemon.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begin = ["--resume", str(batch), "--in-flight", "3"]
        deadline = time.monotonic() + DEADLINE_S
        while ended(batch) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        assert process.wait(DEADLINE_S) in (-signal.SIGKILL, 0)

    done = daemon.plasm("map", "--resume", str(batch))

    assert done.stdout == b"".join(f"v{n}\n".encode()[::-1][1:] + b"\n" for n in range(jobs))
    assert accepted(daemon) - before == jobs


def test_an_interrupt_prints_the_command_to_resume(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "loop.wasm").write_bytes(starting("(loop (br 0))"))
    batch, before = tmp_path / "b", accepted(daemon)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "plasm_core.cli", "map", str(tmp_path / "loop.wasm"), "--range", "1"),
            *("--batch", str(batch), "--limit", "wall=30s", "--limit", "gas=1e15"),
            *("--out", str(tmp_path / "o"), "--format", "jsonl"),
        ],
        env=daemon.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + DEADLINE_S
    while accepted(daemon) == before and process.poll() is None:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130
    assert f"plasm map --resume {batch} --out {tmp_path / 'o'} --format jsonl".encode() in b"".join(
        said.split(b"\n")
    ), said


def test_failed_jobs_are_shown_and_run_again(daemon: Daemon, picky: Path, tmp_path: Path) -> None:
    batch = str(tmp_path / "b")
    begun = daemon.plasm("map", str(picky), "--lines", "-", "--batch", batch, stdin=b"a\nx\n", check=False)
    first = begun.stderr.decode()

    shown = json.loads(daemon.plasm("batch", "status", batch, "--json").stdout)
    before = accepted(daemon)
    again = daemon.plasm("batch", "retry-failed", batch, check=False)

    assert (shown["succeeded"], shown["failed"], shown["total"]) == (1, 1, 2)
    assert f"the batch is kept in {batch}; run again, what failed would end in the same way" in first
    assert "retry-failed" not in first
    assert shown["failures"][0]["reason"] == "trapped: unreachable"
    assert again.returncode == 6
    assert again.stdout == b"a"
    assert accepted(daemon) - before == 1


def test_jobs_that_may_end_differently_are_offered_to_be_run_again(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "loop.wasm").write_bytes(starting("(loop (br 0))"))
    batch, terms = str(tmp_path / "b"), tmp_path / "jobs.jsonl"
    terms.write_text('{"gas": 1000000}\n{"wall_time_s": 1}\n')
    given = ("map", str(tmp_path / "loop.wasm"), "--jobs", str(terms), "--batch", batch)

    said = daemon.plasm(*given, "--limit", "gas=1e15", check=False).stderr.decode()

    again = (
        f"1 of 2 failed jobs may end differently when they run again, with: plasm batch retry-failed {batch}"
    )
    assert again in said, said


def test_a_limit_that_jobs_reached_is_named_with_a_higher_value(daemon: Daemon, tmp_path: Path) -> None:
    """To run such jobs again under the same terms ends in the same way."""
    (tmp_path / "loop.wasm").write_bytes(starting("(loop (br 0))"))
    batch = str(tmp_path / "b")
    given = ("map", str(tmp_path / "loop.wasm"), "--range", "2", "--batch", batch, "--limit", "gas=1e6")

    said = daemon.plasm(*given, check=False).stderr.decode()
    status = daemon.plasm("batch", "status", batch).stderr.decode()

    hint = "hint: out of gas: begin a new batch; --limit gas=2e6 (it was 1e6)"
    assert (said.splitlines().count(hint), status.splitlines().count(hint)) == (1, 1)


def test_a_cancelled_batch_leaves_nothing_running(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "loop.wasm").write_bytes(starting("(loop (br 0))"))
    batch, before = tmp_path / "b", accepted(daemon)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "plasm_core.cli", "map", str(tmp_path / "loop.wasm"), "--range", "3"),
            *("--batch", str(batch), "--limit", "wall=600s", "--limit", "gas=1e15", "--in-flight", "1"),
        ],
        env=daemon.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + DEADLINE_S
    while accepted(daemon) == before and process.poll() is None:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    process.wait(DEADLINE_S)

    done = daemon.plasm("batch", "cancel", str(batch))

    assert b"3 jobs cancelled" in done.stderr, done.stderr
    assert b"1 of them on their nodes" in done.stderr, done.stderr
    assert json.loads(daemon.plasm("batch", "status", str(batch), "--json").stdout)["cancelled"] == 3
