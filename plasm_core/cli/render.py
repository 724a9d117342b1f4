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
from plasm_core.cli.terminal import is_terminal, styled
from plasm_core.printable import json_text, visible
from plasm_core.records import Decision, Outcome, Receipt, Verdict
from plasm_core.records.fields import timestamp
from plasm_core.records.json_names import camel

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.status import Status

_SLOW_S = 2.0
_SPIN_S = 0.2
"""No spinner is shown for a phase that ends before the eye could read its name."""


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


def _print(text: str, *, stderr: bool) -> None:
    """Print one line."""
    file = cast("IO[str]", _Forgiving()) if stderr else sys.stdout
    file.write(text + "\n")
    file.flush()


def _styled(text: str, *styles: str, stderr: bool) -> str:
    return styled(text, *styles, stream=sys.stderr if stderr else sys.stdout)


def _rich_console() -> Console:
    """Return rich's view of stderr, for what moves. It is imported here: that takes as long as a small job."""
    from rich.console import Console

    return Console(file=cast("IO[str]", _Forgiving()), highlight=False, soft_wrap=True, emoji=False)


def live_view() -> Live:
    """Return a view on stderr that is updated by its caller, and gone when it is stopped."""
    from rich.live import Live

    return Live(console=_rich_console(), transient=True, auto_refresh=False)


# All texts are passed through `visible`, which escapes control characters: names in messages may come from strangers.


def show_error(message: str, hint: str | None = None) -> None:
    """Print an error, and its hint on a second line."""
    _print(f"{_styled('error:', 'bold', 'red', stderr=True)} {visible(message)}", stderr=True)
    show_advice(hint)


def show_advice(hint: str | None) -> None:
    """Print a hint for the preceding line on stderr, if there is one."""
    if hint:
        _print(f"{_styled('hint:', 'bold', stderr=True)} {visible(hint)}", stderr=True)


def show_unwritten(name: str, data: bytes) -> None:
    """Print on stderr a text that could not be written to the file `name`."""
    show_mark("!", f"this was to be in {name}:", stderr=True)
    _print(visible(data.decode("utf-8", "backslashreplace").rstrip("\n"), keep="\n\t"), stderr=True)


def show_waiting(what: str) -> None:
    """Print on stderr the step that is being waited for."""
    _print(_styled(visible(what), "dim", stderr=True), stderr=True)


def show_hint(hint: str) -> None:
    """Print a hint below a line."""
    _print(f"    {visible(hint)}", stderr=False)


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
    _print(f"{_styled(mark, 'bold', colour, stderr=stderr)} {visible(text)}", stderr=stderr)


def show_fields(rows: Sequence[tuple[str, str | Sequence[str]]], *, stderr: bool = False) -> None:
    """Print names and values in two columns. Values are never cut, because users copy digests.

    Each item of a list gets a line.
    """
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        first, *others = [value] if isinstance(value, str) else value
        _print(f"{_styled(name.ljust(width), 'bold', stderr=stderr)}  {visible(first)}", stderr=stderr)
        for other in others:
            _print(f"{' ' * width}  {visible(other)}", stderr=stderr)


def show_rows(titles: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False) -> None:
    """Print a table, without wrapping its lines."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for number, row in enumerate((titles, *rows)):
        line = visible("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        _print(line if number else _styled(line, "bold", stderr=stderr), stderr=stderr)


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
    with _Spinner() if is_terminal(sys.stderr) else _SlowPhases() as slow:
        yield slow.show


class _Spinner:
    """Shows the phase with a spinner, from the time at which one has lasted for `_SPIN_S`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._status: Status | None = None
        self._phase = ""

    def show(self, phase: str) -> None:
        """Begin a phase. There is no spinner in the phase `running`: the job's own output comes then."""
        with self._lock:
            self._phase = phase
            if phase == "running":
                self._stop()
            elif self._status is not None:
                self._status.update(self._text)
            elif self._timer is None:
                self._timer = threading.Timer(_SPIN_S, self._start)
                self._timer.daemon = True
                self._timer.start()

    @property
    def _text(self) -> str:
        from rich.markup import escape

        return f"{escape(visible(self._phase))}…"

    def _start(self) -> None:
        with self._lock:
            if self._timer is None or self._status is not None:
                return  # it was stopped in the meantime, and perhaps begun again
            self._status = _rich_console().status(self._text)
            self._status.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> _Spinner:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stop()


class _SlowPhases:
    """Prints the names of phases that last longer than `_SLOW_S`."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._phase = ""

    def show(self, phase: str) -> None:
        """Begin a phase. One that tells how far it is, as `uploading 1 MB of 2 MB` does, is no other phase."""
        if phase.partition(" ")[0] == self._phase and phase != self._phase:
            return
        self._phase = phase
        self._stop()
        if phase != "running":
            self._timer = threading.Timer(_SLOW_S, _tell, [f"{visible(phase)}…"])
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


def _tell(line: str) -> None:
    _print(line, stderr=True)
