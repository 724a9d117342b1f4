"""All that the commands show: results on stdout, everything about them on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast

import attrs
import click

from plasm_core import standard_streams
from plasm_core.assurance import Standing
from plasm_core.printable import json_text, visible
from plasm_core.records import Decision, Outcome, Receipt, Verdict
from plasm_core.records.fields import timestamp
from plasm_core.records.json_names import camel

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_SLOW_S = 2.0


class _Forgiving:
    """Standard error. After its first write error it writes nothing more, so that the error does not change a
    command's exit code.
    """

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
    from rich.console import Console  # rich takes as long to import as a small job takes to run

    file = cast("IO[str]", _Forgiving()) if stderr else None
    return Console(file=file, highlight=False, soft_wrap=True, emoji=False)


def live_view() -> Live:
    """Return a view on stderr that is updated by its caller, and gone when it is stopped."""
    from rich.live import Live

    return Live(console=_console(stderr=True), transient=True, auto_refresh=False)


def show_error(message: str, hint: str | None = None) -> None:
    """Print an error, and its hint on a second line."""
    _console(stderr=True).print(f"[bold red]error:[/] {_plain(message)}")
    show_advice(hint)


def show_advice(hint: str | None) -> None:
    """Print a hint for the preceding line on stderr, if there is one."""
    if hint:
        _console(stderr=True).print(f"[bold]hint:[/] {_plain(hint)}")


def show_unwritten(name: str, data: bytes) -> None:
    """Print on stderr a text that could not be written to the file `name`."""
    show_mark("!", f"this was to be in {name}:", stderr=True)
    _console(stderr=True).print(data.decode("utf-8", "backslashreplace").rstrip("\n"), markup=False)


def show_waiting(what: str) -> None:
    """Print on stderr the step that is being waited for."""
    _console(stderr=True).print(f"[dim]{_plain(what)}[/]")


def show_hint(hint: str) -> None:
    """Print a hint below a line."""
    _console(stderr=False).print(f"    {_plain(hint)}")


def _plain(text: str) -> str:
    """Escape markup, and show control characters: names in messages may come from strangers."""
    from rich.markup import escape

    return escape(visible(text))


def show_json(value: Any) -> None:
    """Print one JSON document on stdout, with control characters escaped."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def show_line_end() -> None:
    """End a line on stderr."""
    _Forgiving().write("\n")


def show_page(text: str, *, stderr: bool = False) -> None:
    """Print lines for programs, unchanged except for escaped control characters."""
    words = visible(text, keep="\n\t")
    if stderr:
        _Forgiving().write(words)
    else:
        click.echo(words, nl=False)


def show_mark(mark: str, text: str, *, stderr: bool = False) -> None:
    """Print one line that begins with ✓, ✗, ! or ?."""
    colour = {"✓": "green", "✗": "red"}.get(mark, "yellow")
    _console(stderr).print(f"[bold {colour}]{mark}[/] {_plain(text)}")


def show_fields(rows: Sequence[tuple[str, str | Sequence[str]]], *, stderr: bool = False) -> None:
    """Print names and values in two columns. Values are never cut, because users copy digests.

    Each item of a list gets a line.
    """
    console = _console(stderr)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        first, *others = [value] if isinstance(value, str) else value
        console.print(f"[bold]{name.ljust(width)}[/]  {_plain(first)}")
        for other in others:
            console.print(f"{' ' * width}  {_plain(other)}")


def show_rows(titles: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False) -> None:
    """Print a table, without wrapping its lines."""
    console = _console(stderr)
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for number, row in enumerate((titles, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(_plain(line), style="bold" if number == 0 else "")


def verdict_line(
    verdict: Verdict, *, matched: bool = True, standing: Standing | None = None
) -> tuple[str, str]:
    """Return the mark and the sentence that say which facts a verdict established, and which it did not.

    `matched`: also list the fields of the receipt that were compared. `standing`: the signing node's relation to
    the user.
    """
    mark = {Decision.ACCEPT: "✓", Decision.REJECT: "✗"}.get(verdict.decision, "?")
    return mark, verdict.sentence(matched=matched, standing=standing)


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


def outcome_json(outcome: Outcome | str | None) -> dict[str, Any] | None:
    """Return an outcome for `--json`: kind, code, trap and detail. None if there is none yet.

    A status tells the kind alone: then the others are None, and the result has them.
    """
    if not outcome:
        return None
    names = [field.name for field in attrs.fields(Outcome)]
    if isinstance(outcome, str):
        return dict.fromkeys(names) | {"kind": outcome}
    return attrs.asdict(outcome)


def fields_json(record: Any) -> Any:
    """Return an attrs record for `--json`: its fields in camel case, and so in the records that it has."""
    if attrs.has(type(record)):
        return {
            camel(field.name): fields_json(getattr(record, field.name))
            for field in attrs.fields(type(record))
        }
    if isinstance(record, (list, tuple)):
        return [fields_json(item) for item in record]
    return record


def time_json(moment: datetime) -> str:
    """Return a moment for `--json`: RFC 3339 with Z, as in receipts."""
    return str(timestamp().dump(moment))


def gas_text(receipt: Receipt) -> str:
    """Return the gas that a run used, for people: at least so much if the node ended it, and alone can say it."""
    used = f"{receipt.result.gas_used:,}"
    return used if receipt.result.outcome.recheckable else f"at least {used}"


def run_line(receipt: Receipt) -> tuple[str, str]:
    """Return the mark and the sentence about a finished run."""
    result, claims = receipt.result, receipt.claims
    parts = [
        str(result.outcome),
        f"{gas_text(receipt)} gas",
        f"{claims.wall_time_ms:,} ms",
        f"{claims.runtime.name} {claims.runtime.version}",
    ]
    if not result.reproducible:
        parts.append("not reproducible")
    return "✓" if result.outcome.ok else "✗", " · ".join(parts)


@contextmanager
def phases() -> Iterator[Any]:
    """Show the current phase of a long job: a spinner on a terminal, otherwise a line for each slow phase."""
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
    """Prints the names of phases that last longer than `_SLOW_S`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._timer: threading.Timer | None = None
        self._phase = ""

    def show(self, phase: str) -> None:
        """Begin a phase. One that tells how far it is, as `uploading 1 MB of 2 MB` does, is no other phase."""
        if phase.partition(" ")[0] == self._phase and phase != self._phase:
            return
        self._phase = phase
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
