"""All that the commands show: results on stdout, everything about them on stderr."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import click
from rich.console import Console
from rich.markup import escape

from plasm_core import assurance, standard_streams
from plasm_core.assurance import Standing
from plasm_core.printable import json_text, visible
from plasm_core.records import Decision, Receipt, Verdict
from plasm_core.verification import BINDINGS

_SLOW_S = 2.0


class _Forgiving:
    """The standard error, whose failure must not change how a command ends: once it breaks, it is silent."""

    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError):
            standard_streams.abandon(2)
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            standard_streams.abandon(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def _console(stderr: bool) -> Console:
    file = cast("IO[str]", _Forgiving()) if stderr else None
    return Console(file=file, highlight=False, soft_wrap=True, emoji=False)


def show_error(message: str, hint: str | None = None) -> None:
    """Show an error, and what to do about it on a line of its own."""
    console = _console(stderr=True)
    console.print(f"[bold red]error:[/] {_plain(message)}")
    if hint:
        console.print(f"[bold]hint:[/] {_plain(hint)}")


def show_unwritten(name: str, data: bytes) -> None:
    """Show on stderr what could not be written to a file, so that it is not lost."""
    show_mark("!", f"this was to be in {name}:", stderr=True)
    _console(stderr=True).print(data.decode("utf-8", "backslashreplace").rstrip("\n"), markup=False)


def show_waiting(what: str) -> None:
    """Say on stderr what is being waited for."""
    _console(stderr=True).print(f"[dim]{_plain(what)}[/]")


def show_hint(hint: str) -> None:
    """Show, below a line, what to do about it."""
    _console(stderr=False).print(f"    {_plain(hint)}")


def _plain(text: str) -> str:
    """Escape markup, and show control characters: names in messages may come from strangers."""
    return escape(visible(text))


def show_json(value: Any) -> None:
    """Print one JSON document on stdout: strangers' words in it move no cursor."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def show_page(text: str, *, stderr: bool = False) -> None:
    """Print lines that a program reads, as they are but for what would take effect on a terminal."""
    words = visible(text, keep="\n\t")
    if stderr:
        _Forgiving().write(words)
    else:
        click.echo(words, nl=False)


def show_mark(mark: str, text: str, *, stderr: bool = False) -> None:
    """Show one line behind ✓, ✗, ! or ?."""
    colour = {"✓": "green", "✗": "red"}.get(mark, "yellow")
    _console(stderr).print(f"[bold {colour}]{mark}[/] {_plain(text)}")


def forgive_encodings() -> None:
    """Show what a terminal's encoding lacks as question marks, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def show_fields(rows: Sequence[tuple[str, str | Sequence[str]]], *, stderr: bool = False) -> None:
    """Show names and values in two columns, never cutting a value: digests are there to be copied.

    A value that is a list takes a line an item.
    """
    console = _console(stderr)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        first, *others = [value] if isinstance(value, str) else value
        console.print(f"[bold]{name.ljust(width)}[/]  {_plain(first)}")
        for other in others:
            console.print(f"{' ' * width}  {_plain(other)}")


def show_rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table, as wide as it is."""
    console = _console(stderr=False)
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for number, row in enumerate((titles, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(_plain(line), style="bold" if number == 0 else "")


def verdict_line(
    verdict: Verdict, *, matched: bool = True, standing: Standing | None = None
) -> tuple[str, str]:
    """Return the mark and the sentence that say what a verdict established, and what it did not.

    `matched`: name what the receipt was compared with.
    """
    if verdict.decision is Decision.ACCEPT:
        words = []
        if "signature" in verdict.established:
            words.append(f"signed by {', '.join(map(str, verdict.signers))}")
        who, not_re_executed = assurance.qualified(verdict, standing)
        if who:
            words.append(who)
        for opinion in verdict.opinions:
            if opinion.verifier != BINDINGS:
                named = (_WORDS.get(item, item) for item in opinion.established if item != "signature")
                words += opinion.reasons or named
            elif matched and opinion.established:
                words.append(f"{', '.join(opinion.established)} as expected")
        if not_re_executed is not None:
            words.append(not_re_executed)
        return "✓", "receipt verified ✓ " + ", ".join(words)
    word = "rejected" if verdict.decision is Decision.REJECT else "undecided"
    return ("✗" if word == "rejected" else "?"), f"receipt {word}: " + "; ".join(verdict.reasons)


_WORDS = {"quorum": "agreed on by a quorum", "re-execution": "re-executed"}


def verdict_json(verdict: Verdict, standing: Standing) -> dict[str, Any]:
    """Return a verdict for `--json`, with the same words that are shown without it."""
    return {
        "decision": verdict.decision.value,
        "established": list(verdict.established),
        "reasons": list(verdict.reasons),
        "signer": str(verdict.signer) if verdict.signer else None,
        "signers": [str(peer) for peer in verdict.signers],
        "standing": standing.name.lower(),
        "words": verdict_line(verdict, matched=False, standing=standing)[1],
    }


def run_line(receipt: Receipt) -> tuple[str, str]:
    """Return the mark and the sentence about a finished run."""
    result, claims = receipt.result, receipt.claims
    parts = [
        str(result.outcome),
        f"{result.gas_used:,} gas",
        f"{claims.wall_time_ms:,} ms",
        f"{claims.runtime.name} {claims.runtime.version}",
    ]
    if not result.reproducible:
        parts.append("not reproducible")
    return "✓" if result.outcome.ok else "✗", " · ".join(parts)


@contextmanager
def phases() -> Iterator[Any]:
    """Show the phase of a long job: a spinner on a terminal, plain lines for slow phases elsewhere."""
    console = _console(stderr=True)
    if console.is_terminal:
        status = console.status("")

        def show(phase: str) -> None:
            if phase == "running":
                status.stop()  # the job's own output comes now
            else:
                status.update(f"{_plain(phase)}…")
                status.start()

        try:
            yield show
        finally:
            status.stop()
        return
    with _SlowPhases(console) as slow:
        yield slow.show


class _SlowPhases:
    """Prints a phase's name once it has taken a while."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._timer: threading.Timer | None = None

    def show(self, phase: str) -> None:
        """Begin a phase."""
        self._stop()
        if phase != "running":
            self._timer = threading.Timer(_SLOW_S, self._console.print, [f"{_plain(phase)}…"])
            self._timer.daemon = True
            self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> _SlowPhases:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
