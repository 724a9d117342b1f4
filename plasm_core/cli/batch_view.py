"""What is shown of a batch while it runs, and when it has ended."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from plasm_core.background_tasks import alongside
from plasm_core.batch.folder import FAILED, BatchFolder
from plasm_core.batch.plan import BatchTerms
from plasm_core.batch.repeatable import Repeatable
from plasm_core.batch.rows import BatchJobResult, BatchJobState, Counts, JobRow, stored_outcome
from plasm_core.batch.run import BatchRun
from plasm_core.cli import exits, render
from plasm_core.cli.batch_hints import batch_hints
from plasm_core.cli.batch_results import Results, last_line
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.client import Client
from plasm_core.errors import PlasmError

_TICK_S = 0.25
_LINE_S = 10.0
_LISTED = 20
_REJECTED, _UNDECIDED = "ReceiptRejectedError", "ReceiptUndecidedError"
_NODES_SHOWN = 12


def run_batch(
    folder: BatchFolder, client: Client, shown: Shown, results: Results, *, most: int | None = None
) -> int:
    """Run a batch, show it, and return the exit code. Raises: `PlasmError`, with how to go on as its hint."""
    shown.is_on_terminal_with_results = results.shares_terminal
    run = BatchRun(folder, emit=shown.around(results.write), told=shown.ended, most=most)
    shown.begin(run)

    async def work(opened: AsyncClient) -> Counts:
        async def tick() -> None:
            while True:
                await trio.sleep(_TICK_S)
                shown.tick()

        async with alongside(tick):
            return await run.run(opened)

    try:
        counts = client.do(work)
    except PlasmError as exc:
        shown.stop()
        shown.interrupted()
        if exc.hint is None:
            exc.hint = f"go on with: {shown.goes_on}"
        raise
    except BaseException:
        shown.stop()
        shown.interrupted()
        raise
    finally:
        client.close()
    shown.stop()
    shown.summary(folder, counts)
    return exit_code(folder, counts)


def exit_code(folder: BatchFolder, counts: Counts) -> int:
    """Return the exit code of a batch that was run to its end: that of its worst job."""
    if not counts.unsuccessful:
        return exits.OK
    kinds = {row.error_kind for row in folder.rows(BatchJobState.ERROR)}
    if _REJECTED in kinds:
        return exits.REJECTED
    if _UNDECIDED in kinds:
        return exits.UNDECIDED
    return exits.JOB_FAILED


class Shown:
    """Progress on stderr: a live view on a terminal, a line now and then elsewhere, JSON lines, or nothing."""

    def __init__(self, path: Path, *, quiet: bool, as_json: bool, options: str = "") -> None:
        """`options`: those that a command which goes on with the batch must have again."""
        self._path = path
        self._options = options
        self._quiet = quiet
        self._json = as_json
        self._run: BatchRun | None = None
        self._live: Any = None
        self._began = time.monotonic()
        self._line_at = self._began
        self._done = 0
        self._unsuccessful = 0
        self._reused = 0
        self._last: tuple[int, ...] = ()
        self.is_on_terminal_with_results = False

    @property
    def goes_on(self) -> str:
        """The command that goes on with the batch."""
        return f"plasm map --resume {shlex.quote(str(self._path))}{self._options}"

    def begin(self, run: BatchRun) -> None:
        """Begin to show a batch that is about to run."""
        self._run = run
        self._began = self._line_at = time.monotonic()
        self._event("begin", batch=str(self._path), jobs=run.before.total, ended=run.before.ended)
        if not self._quiet and not self._json and sys.stderr.isatty():
            self._live = render.live_view()
            self._live.start()

    def around(self, write: Any) -> Any:
        """Return `write` with the live view out of its way, where both are on one terminal."""

        def written(rows: list[JobRow]) -> None:
            live = self._live if self.is_on_terminal_with_results else None
            if live is not None:
                live.stop()
            try:
                write(rows)
            finally:
                if live is not None:
                    live.start()

        return written

    def ended(self, result: BatchJobResult) -> None:
        """Take note of a job's end."""
        self._done += 1
        self._unsuccessful += result.state is not BatchJobState.SUCCEEDED
        self._reused += result.reused
        if self._json:
            self._event(
                "job",
                number=result.number,
                state=result.state.value,
                outcome=render.outcome_json(stored_outcome(result.outcome)),
                error=result.error,
                node=result.peer,
                durationMs=result.duration_ms,
                reused=result.reused,
            )

    def tick(self) -> None:
        """Show how far the batch is."""
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif now - self._line_at >= _LINE_S:
            self._line_at = now
            figures = self.figures()
            if tuple(figures.values())[:4] == self._last:
                return
            self._last = tuple(figures.values())[:4]
            if self._json:
                self._event("progress", **figures)
            elif not self._quiet:
                render.show_waiting(self._line(figures))

    def figures(self) -> dict[str, Any]:
        """Return the counts, the rate in jobs/s, and the seconds that are left, None if not known."""
        run = self._run
        assert run is not None
        elapsed_s = time.monotonic() - self._began
        running = len(run.dispatcher.active) if run.dispatcher else 0
        done = run.before.ended + self._done
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        left = run.before.total - done
        return {
            "done": done,
            "running": running,
            "waiting": max(0, left - running),
            "failed": run.before.unsuccessful + self._unsuccessful,
            "jobsPerS": round(rate, 2),
            "secondsLeft": round(left / rate) if rate else None,
        }

    def _line(self, figures: dict[str, Any]) -> str:
        left = "" if figures["secondsLeft"] is None else f", {figures['secondsLeft']} s left"
        total = self._run.before.total if self._run else 0
        return (
            f"{figures['done']} of {total} done, {figures['running']} running, {figures['failed']} failed, "
            f"{figures['jobsPerS']:.1f} jobs/s{left}"
        )

    def _table(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        run, figures = self._run, self.figures()
        assert run is not None
        head = Table.grid()  # the progress bar prints no line end
        head.add_row(ProgressBar(total=max(1, run.before.total), completed=figures["done"], width=60))
        head.add_row(Text(self._line(figures)))
        parts: list[Any] = [head]
        lanes = [lane for lane in run.dispatcher.lanes if lane.peer is not None] if run.dispatcher else []
        if lanes:
            table = Table("node", "done", "in flight", "window", "latency", box=None, pad_edge=False)
            for lane in lanes[:_NODES_SHOWN]:
                window = lane.window
                table.add_row(
                    f"{str(lane.peer)[:16]}…",
                    str(window.answers),
                    str(window.in_flight),
                    f"{window.limit:.0f}",
                    f"{window.latency_s * 1000:.0f} ms",
                )
            parts.append(table)
        return Group(*parts)

    def stop(self) -> None:
        """Take the live view away."""
        if self._live is not None:
            if self._run is not None:  # a batch may end before the first tick
                self._live.update(self._table(), refresh=True)
            self._live.stop()
            self._live = None

    def interrupted(self) -> None:
        """Say how to go on with a batch that did not get to its end."""
        self._event("interrupted", batch=str(self._path), **(self.figures() if self._run else {}))
        if not self._json:
            render.show_mark("!", f"the batch is kept; go on with: {self.goes_on}", stderr=True)

    def summary(self, folder: BatchFolder, counts: Counts) -> None:
        """Show how a batch has ended, and a table of what failed."""
        elapsed_s = time.monotonic() - self._began
        self._event(
            "end", batch=str(self._path), durationMs=round(elapsed_s * 1000), **render.fields_json(counts)
        )
        if self._quiet or self._json:
            return
        text = f"{counts.succeeded} of {counts.total} jobs succeeded in {elapsed_s:.1f} s"
        if self._done and elapsed_s:
            text += f" ({self._done / elapsed_s:.1f} jobs/s)"
        if self._reused:
            text += f"; not run, since equal tasks had results before: {self._reused}"
        render.show_mark("✓" if not counts.unsuccessful else "✗", text, stderr=True)
        if not counts.unsuccessful:
            return
        reasons: Counter[str] = Counter()
        rows: list[tuple[str, ...]] = []
        repeatable = Repeatable(BatchTerms.from_json(folder.facts()["terms"]))
        different = 0
        for row in folder.rows(*FAILED):
            reasons[row.reason] += 1
            if len(rows) < _LISTED:
                rows.append((str(row.number), row.label, row.reason, last_line(folder, row)))
            different += repeatable.may_end_differently(row)
        render.show_rows(("JOB", "INPUT", "REASON", "STDERR"), rows, stderr=True)
        if counts.unsuccessful > len(rows):
            for reason, count in reasons.most_common(_LISTED):
                render.show_mark("!", f"{count} jobs: {reason}", stderr=True)
        render.show_mark("!", self._what_next(counts.unsuccessful, different), stderr=True)
        for hint in batch_hints(folder.rows(*FAILED)):
            render.show_advice(hint)

    def _what_next(self, failed: int, different: int) -> str:
        """Say what is of use for a batch with failed jobs, of which some may end differently when they run again."""
        path = shlex.quote(str(self._path))
        again = f"plasm batch retry-failed {path}{self._options}"
        if not different:
            return f"the batch is kept in {path}; run again, what failed would end in the same way"
        if different == failed:
            return f"the batch is kept; run what failed again with: {again}"
        return (
            f"the batch is kept; {different} of {failed} failed jobs may end differently when they run again, "
            f"with: {again}"
        )

    def _event(self, event: str, **facts: Any) -> None:
        if self._json:
            render.show_page(json.dumps({"event": event, **facts}) + "\n", stderr=True)
