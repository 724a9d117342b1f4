"""The daemon's log: a stranger's value forges neither a line nor a fact."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from plasm_core.logs import JsonFormatter, TextFormatter, _is_journal, logged_failure

HOSTILE = "bye peer=12D3KooWVICTIM job=deadbeef outcome=exited level=error\n2026-01-01 info \x9b2J\u202e"
OWN = "plasm_core.daemon.session"


def record(template: object, *values: object, name: str = OWN, exc: BaseException | None = None) -> Any:
    """Return what a logger hands to a formatter."""
    info = None if exc is None else (type(exc), exc, None)
    return logging.LogRecord(name, logging.INFO, "file", 1, template, values, info)


def as_json(*args: Any, **kwargs: Any) -> dict[str, str]:
    """Format as JSON, and read it again."""
    line = JsonFormatter().format(record(*args, **kwargs))
    assert line.isprintable()
    entry: dict[str, str] = json.loads(line)
    return entry


def as_text(*args: Any, journal: bool = True, **kwargs: Any) -> str:
    """Format as text."""
    return TextFormatter(journal=journal).format(record(*args, **kwargs))


def test_each_fact_has_its_name() -> None:
    entry = as_json("run failed job=%s attempt=%d reason=%s", "ab", 2, "no room")

    assert entry["event"] == "run failed"
    assert (entry["job"], entry["attempt"], entry["reason"]) == ("ab", "2", "no room")
    assert (entry["level"], entry["logger"]) == ("info", OWN)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("client left reason=%s", (HOSTILE,)),
        ("client left reason=%s code=%s", (HOSTILE, "x")),
        ("client left code=%s reason=%s", ("x", HOSTILE)),
        ("left %s reason=%s", ("100% =", HOSTILE)),
        ("left 5%% reason=%s", (HOSTILE,)),
    ],
)
def test_a_value_adds_no_fact_and_replaces_none(template: str, values: tuple[str, ...]) -> None:
    entry = as_json(template, *values)

    assert set(entry) <= {"time", "level", "logger", "event", "reason", "code"}
    assert entry["reason"] == HOSTILE
    assert entry["level"] == "info"
    assert entry.get("code", "x") == "x"


def test_a_value_in_the_event_adds_no_fact() -> None:
    entry = as_json("verifier failed %s verifier=%s", HOSTILE, "v")

    assert entry["event"] == f"verifier failed {HOSTILE}"
    assert "job" not in entry


@pytest.mark.parametrize("name", ["time", "level", "logger", "event", "message", "exception"])
def test_a_fact_named_like_a_field_of_the_line_is_kept_under_another_name(name: str) -> None:
    entry = as_json(f"x {name}=%s", "mine", exc=ValueError("why"))

    assert entry[f"fact_{name}"] == "mine"
    assert entry["event"] == "x"
    assert entry["level"] == "info"
    assert "why" in entry["exception"]
    assert entry["time"].endswith("Z")


def test_a_fact_that_is_there_twice_is_kept_twice() -> None:
    entry = as_json("x job=%s job=%s job_2=%s", "a", "b", "c")

    assert (entry["job"], entry["job_2"], entry["job_2_2"]) == ("a", "b", "c")


def test_series_with_labels_are_facts() -> None:
    entry = as_json('counters jobs{reason="policy"}=%g running=%g', 2.0, 1.0)

    assert (entry['jobs{reason="policy"}'], entry["running"]) == ("2", "1")


@pytest.mark.parametrize(
    ("template", "values"),
    [("peer said job=abc", ()), ("peer said %s", ("job=abc",)), (ValueError("job=abc"), ())],
)
def test_others_messages_have_no_facts(template: object, values: tuple[str, ...]) -> None:
    entry = as_json(template, *values, name="libp2p.host")

    assert "job" not in entry
    assert "job=abc" in entry["event"]


def test_values_that_do_not_fit_their_template_are_not_lost() -> None:
    assert as_json("x job=%s", "a", "b")["event"] == "x job=%s ('a', 'b')"
    assert as_json("x job=%s and=%d", "a", "b")["event"] == "x job=%s and=%d ('a', 'b')"
    assert as_json("no values: 100% job=1")["job"] == "1"


@pytest.mark.parametrize("journal", [False, True])
def test_text_is_one_line_without_control_characters(journal: bool) -> None:
    line = as_text("client left reason=%s", HOSTILE, journal=journal)

    assert line.isprintable()
    assert "\\u009b" in line


def test_text_quotes_what_could_be_taken_for_facts() -> None:
    assert as_text("left reason=%s n=%d", "a job=b", 1) == '<6>left reason="a job=b" n=1'
    assert as_text("left reason=%s", '"a" said') == '<6>left reason="\\"a\\" said"'
    assert as_text("ended outcome=%s", "exited with code 0") == '<6>ended outcome="exited with code 0"'
    assert as_text("left reason=%s", "") == '<6>left reason=""'
    assert as_text("left reason=%s", "a\\b") == '<6>left reason="a\\\\b"'
    assert as_text("listening at=%s", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2") == (
        "<6>listening at=/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2"
    )
    assert as_text("reason=%s", "x") == "<6>reason=x"
    assert as_text("") == "<6>"


def test_an_exception_is_a_fact_on_the_events_line() -> None:
    """An event is a line: its words can neither begin another nor pass for a fact."""
    exc = ValueError("x\n2026-01-01 info job accepted job=abc\x1b[2J")

    text = as_text("unexpected error job=%s", "ab", exc=exc, journal=False)

    head, _, quoted = text.partition(" exception=")
    assert head.endswith("unexpected error job=ab")
    assert text.isprintable()
    assert json.loads(quoted).startswith("ValueError: x\n2026-01-01")


def test_a_variable_that_was_inherited_makes_no_terminal_a_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals of a systemd session inherit JOURNAL_STREAM, and showed lines without times."""
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    own = _is_journal()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")

    assert (own, _is_journal()) == (True, False)


PROGRAM = """
import sys, threading, warnings
from plasm_core import logs
from plasm_core.cli.commands import reporting
from plasm_core.config import DaemonConfig
from plasm_core.errors import ConfigError

logs.set_up(DaemonConfig(log_format="json"))
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
with reporting():
    raise {error}
"""


@pytest.mark.parametrize(
    ("error", "event", "code"),
    [
        ("ConfigError('wrong\\nlog_level=debug', hint='right')", "ended by an error", 3),
        ("KeyboardInterrupt", "ended by an error", 130),
        ("ValueError", "ended by an unexpected error", 1),
    ],
)
def test_whatever_ends_a_process_is_json_in_its_log(error: str, event: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{error}", error)], capture_output=True, text=True, check=False
    )
    entries = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == code
    assert [entry["event"] for entry in entries[1:]] == ["a thread ended by an unexpected error", event]
    assert entries[0]["logger"] == "py.warnings"
    assert "ZeroDivisionError" in entries[1]["exception"]
    if code == 3:
        assert (entries[2]["reason"], entries[2]["hint"]) == ("wrong\nlog_level=debug", "right")
        assert logged_failure(done.stderr.splitlines()[2]) == ("wrong\nlog_level=debug", "right")
        assert logged_failure(done.stderr.splitlines()[1]) is None


@pytest.mark.parametrize(
    "line", ["", "error: one", "[]", "{}", '{"event": "ended by an error"}', '{"event":']
)
def test_other_lines_are_no_failure(line: str) -> None:
    assert logged_failure(line) is None
