"""Record and print a job's handle once a node has accepted the job, also if a later step fails."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from plasm_core import paths, standard_streams
from plasm_core.cli import render
from plasm_core.client.job_history import JobHistory
from plasm_core.errors import OutputFileError, PlasmError
from plasm_core.records import Handle


def job_history() -> JobHistory:
    """Return the file of this user's handles."""
    return JobHistory(paths.state_directory() / "jobs" / "handles.jsonl")


class Acceptance:
    """Makes sure that the user gets the handle of an accepted job.

    The handle is stored for `plasm jobs` at once. When the block ends, also by an error or an interrupt, `show`
    prints it. If that fails, or if there is no `show` and `over` was not called, it is printed on stderr.
    """

    def __init__(
        self,
        module: str,
        transport: str,
        *,
        output_bytes: int,
        file_bytes: int = 0,
        gateway: bool,
        show: Callable[[Handle], None] | None = None,
    ) -> None:
        self._module = Path(module).name
        self._transport = transport
        self._output_bytes = output_bytes
        self._file_bytes = file_bytes
        self._gateway = gateway
        self._show = show
        self._handles: list[Handle] = []
        self._problem: str | None = None
        self._is_over = False

    def placed(self, handle: Handle) -> None:
        """Store the handle of an accepted job."""
        self._handles.append(handle)
        try:
            job_history().add(
                handle,
                self._module,
                self._transport,
                output_bytes=self._output_bytes,
                file_bytes=self._file_bytes,
                gateway=self._gateway,
            )
        except (PlasmError, OSError) as exc:
            self._problem = str(exc)

    def over(self) -> None:
        """Delete the stored handle, because the job's result has arrived."""
        self._is_over = True
        if self._handles and self._problem is None:
            with contextlib.suppress(PlasmError, OSError):
                job_history().forget({handle.job_id for handle in self._handles})

    def __enter__(self) -> Acceptance:
        if self._show is not None and not standard_streams.is_open(1) and not standard_streams.is_open(2):
            # Otherwise the handle would be lost; a remembered job is listed by `plasm jobs`.
            job_history().check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with _uninterrupted():
            if not self._handles:
                maybe = error.handle if isinstance(error, PlasmError) else None
                if maybe is not None:
                    render.show_mark(
                        "!", f"if the node has accepted the job, this is its handle: {maybe}", stderr=True
                    )
                return
            if self._show is not None:
                self._deliver(self._show, self._handles[-1])
            elif not self._is_over:
                render.show_mark("!", f"the job goes on; its handle is {self._handles[-1]}", stderr=True)
            if self._problem is not None and not self._is_over:
                render.show_mark("!", f"plasm jobs will not list it: {self._problem}", stderr=True)

    def _deliver(self, show: Callable[[Handle], None], handle: Handle) -> None:
        if not standard_streams.is_open(1):
            render.show_mark(
                "!", f"stdout is closed; the job was accepted, its handle is {handle}", stderr=True
            )
            return
        try:
            show(handle)
            sys.stdout.flush()
        except (OSError, ValueError) as exc:
            standard_streams.abandon(1)
            render.show_mark("!", f"the job was accepted, its handle is {handle}", stderr=True)
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise OutputFileError(f"cannot write the handle to stdout: {reason}") from exc


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no Ctrl-C come between the handle and its reader."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # only the main thread receives interrupts
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
