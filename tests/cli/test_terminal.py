"""Hold when lines are styled: on terminals, as the variables that all programs know say."""

from __future__ import annotations

import io

import pytest

from plasm_core.cli import render
from plasm_core.cli.terminal import is_terminal, styled


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TTY_COMPATIBLE", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_line_is_styled_on_a_terminal_only() -> None:
    assert styled("ok", "bold", "green", stream=_Terminal()) == "\x1b[1;32mok\x1b[0m"
    assert styled("ok", "bold", "green", stream=io.StringIO()) == "ok"


@pytest.mark.parametrize(
    ("name", "value", "stream", "expected"),
    [
        ("NO_COLOR", "1", _Terminal(), "\x1b[1mok\x1b[0m"),
        ("FORCE_COLOR", "1", io.StringIO(), "\x1b[1;31mok\x1b[0m"),
        ("FORCE_COLOR", "", _Terminal(), "ok"),
        ("TTY_COMPATIBLE", "1", io.StringIO(), "\x1b[1;31mok\x1b[0m"),
        ("TTY_COMPATIBLE", "0", _Terminal(), "ok"),
        ("TERM", "dumb", _Terminal(), "ok"),
    ],
)
def test_variables_decide_what_is_styled(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, stream: io.StringIO, expected: str
) -> None:
    monkeypatch.setenv(name, value)

    assert styled("ok", "bold", "red", stream=stream) == expected


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()

    assert not is_terminal(stream)


def test_a_spinner_that_is_begun_twice_is_shown_once() -> None:
    """A timer that was stopped too late may fire after the next one was set: its spinner would never end."""
    with render._Spinner() as spinner:
        spinner.show("connecting")
        spinner._start()
        first = spinner._status
        spinner._start()

        assert first is not None
        assert spinner._status is first
