"""Results of jobs, as all commands show them: output on stdout and stderr, then the summary and the verdict."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from plasm_core import assurance, standard_streams
from plasm_core.cli import exits, render
from plasm_core.cli.file_hint import TAIL_BYTES, file_hint
from plasm_core.cli.files import Files
from plasm_core.cli.limit_hint import limit_hint
from plasm_core.client.output import Buffer, Sink
from plasm_core.client.result import JobResult
from plasm_core.records import Decision
from plasm_core.records.output import OutputStream

if TYPE_CHECKING:
    from plasm_core.protocol.messages import Status

MAX_OUTPUT_BYTES = 1 << 40
"""The most that a command keeps of each output, in bytes."""


class StandardStreams(Sink):
    """Writes a job's stdout and stderr to those of this process, as they arrive.

    If one cannot be written, the job continues, because its receipt is still useful. `problem`: the error; None if
    there was none or the reader closed its pipe (`EPIPE`).
    """

    def __init__(self) -> None:
        self._closed: set[OutputStream] = set()
        self.problem: OSError | None = None
        self.ends = _Ends()

    def write(self, stream: OutputStream, data: bytes) -> None:
        if stream in self._closed:
            return
        try:
            write_out(stream, data)
            self.ends.note(stream, data)
        except OSError as exc:
            self._closed.add(stream)
            if not isinstance(exc, BrokenPipeError):
                self.problem = self.problem or exc

    def restart(self) -> None:
        raise AssertionError("a job in this process has one attempt")

    def settle(self) -> None:
        for stream in self._closed:  # otherwise the interpreter reports an error for them at exit
            standard_streams.abandon(stream)


class _Ends:
    """Remembers the end of each output: the summary begins on a new line, and its hint may need the job's words."""

    def __init__(self) -> None:
        self._last = dict.fromkeys(OutputStream, b"")
        self._latest = OutputStream.STDERR

    def note(self, stream: OutputStream, data: bytes) -> None:
        """Remember the last bytes written to an output."""
        if data:
            self._last[stream], self._latest = (self._last[stream] + data[-TAIL_BYTES:])[-TAIL_BYTES:], stream

    @property
    def words(self) -> bytes:
        """The ends of both outputs."""
        return b"".join(self._last.values())

    def end_line(self) -> None:
        """Write a newline if the job's output ended without one and stderr shares its terminal."""
        last = self._last[self._latest if _is_one_file() else OutputStream.STDERR]
        if last and not last.endswith(b"\n"):
            render.show_line_end()


def _is_one_file() -> bool:
    """Return whether stdout and stderr are the same terminal, pipe or file."""
    try:
        out, err = os.fstat(1), os.fstat(2)
    except OSError:
        return False
    return (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)


def write_out(stream: OutputStream, data: bytes) -> None:
    """Write bytes to this process's stdout or stderr. Raises: OSError."""
    target = sys.stdout.buffer if stream is OutputStream.STDOUT else sys.stderr.buffer
    target.write(data)
    target.flush()


def show_result(
    found: JobResult,
    output: Buffer | StandardStreams,
    *,
    require: str,
    files: Files,
    manifest_json: bytes = b"",
    quiet: bool,
    as_json: bool,
    more: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Write a result: its files, its output, and the summary on stderr. Return the exit code of the command.

    `output`: the buffer that has the job's output, or the streams that it was written to. `require`: the required
    assurance, one of `plasm_core.assurance.REQUIREMENTS`. `more`: further members of the JSON document. Raises:
    OSError, `OutputFileError`.
    """
    lacking = assurance.lacking(require, found.verdict, found.standing)
    ends = _Ends()
    others = [item.to_json() + b"\n" for item in found.others]
    with files.written(receipt=found.envelope.to_json() + b"\n", manifest=manifest_json, others=others):
        if isinstance(output, StandardStreams):
            if output.problem is not None:
                raise output.problem
            ends = output.ends
        elif as_json:
            render.show_json({**_result_json(found, output), **more})
        else:
            for stream, target in (
                (OutputStream.STDOUT, sys.stdout.buffer),
                (OutputStream.STDERR, sys.stderr.buffer),
            ):
                ends.note(stream, output.tail(stream, TAIL_BYTES))
                output.copy(stream, target)
        if not quiet and not as_json:
            ends.end_line()
            _show_summary(found, lacking, ends.words)
            left = found.receipt.files
            if left and not any(found.files.entries(item.path) for item in left):
                render.show_advice("the job left files: plasm files HANDLE lists them, --out fetches them")
    return _exit_code(found, lacking)


def _show_summary(found: JobResult, lacking: str | None, words: bytes) -> None:
    render.show_mark(*render.run_line(found.receipt), stderr=True)
    if found.reused:
        when = f"{found.receipt.claims.finished_at:%Y-%m-%d %H:%M} UTC"
        render.show_mark("✓", f"nothing was run: this is the result of an equal task, of {when}", stderr=True)
    render.show_advice(file_hint(found.receipt, words) or limit_hint(found.receipt))
    for item in found.rejected:
        where = f", kept in {item.file}" if item.file else ""
        render.show_mark("!", f"another node's answer was not taken: {item.reason}{where}", stderr=True)
    line = render.verdict_line(found.verdict, matched=False, standing=found.standing)
    render.show_mark(*line, stderr=True)
    if lacking is not None and found.verdict.decision is Decision.ACCEPT:
        render.show_mark("?", f"more is required: {lacking}", stderr=True)


def _exit_code(found: JobResult, lacking: str | None) -> int:
    if found.verdict.decision is Decision.REJECT:
        return exits.REJECTED
    if lacking is not None:
        return exits.UNDECIDED
    return exits.OK if found.ok else exits.JOB_FAILED


def _result_json(found: JobResult, output: Buffer) -> dict[str, Any]:
    """Return a result for `--json`, with the output that the buffer has, which forgets it."""
    return {
        "outcome": render.outcome_json(found.outcome),
        "state": found.state,
        "reused": found.reused,
        "gasUsed": found.receipt.result.gas_used,
        "wallTimeMs": found.receipt.claims.wall_time_ms,
        "runtime": {
            "name": found.receipt.claims.runtime.name,
            "version": found.receipt.claims.runtime.version,
        },
        "jobId": found.receipt.asked.job_id,
        "taskDigest": found.receipt.asked.task_digest,
        "files": [
            {"path": item.path, "kind": item.kind, "sha256": item.sha256} for item in found.receipt.files
        ],
        "stdoutBase64": base64.b64encode(output.take(OutputStream.STDOUT)).decode(),
        "stderrBase64": base64.b64encode(output.take(OutputStream.STDERR)).decode(),
        "verdict": render.verdict_json(found.verdict, found.standing),
    }


def told(state: str, found: Status | None) -> str:
    """Return a job's state for people, such as "queued (3)"."""
    if found is None:
        return state
    if found.position is not None:
        return f"queued ({found.position})"
    return found.state.lower().replace("_", " ") + (f" ({found.outcome})" if found.outcome else "")
