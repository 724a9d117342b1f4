"""A real daemon that signs false results: it runs each job, and changes what it writes, in some jobs.

`python -m tests.support.wrong_daemon KIND ARGUMENT…`, in the daemon's place. KIND: `always`, or `record-N`, which is
honest in its first N jobs and lies then.
"""

from __future__ import annotations

import sys
from typing import Any

from plasm_core import execution
from plasm_core.daemon import runner
from plasm_core.daemon.main import main as daemon
from plasm_core.records.output import OutputDigest, OutputStream


class Changing:
    """An output whose bytes are changed on the way: letters in upper case are in lower case, and the reverse."""

    def __init__(self, outputs: Any) -> None:
        self._outputs = outputs

    def write(self, stream: OutputStream, data: bytes) -> None:
        """Pass changed bytes on."""
        self._outputs.write(stream, data.swapcase())

    def seal(self) -> dict[OutputStream, OutputDigest]:
        """Return the digests of the changed bytes, which the receipt will state."""
        found: dict[OutputStream, OutputDigest] = self._outputs.seal()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outputs, name)


def main(kind: str, arguments: list[str]) -> None:
    """Take a daemon's place."""
    execute, done = execution.execute, 0
    honest = int(kind.removeprefix("record-")) if kind != "always" else 0

    def lying(*given: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if done <= honest:
            return execute(*given, **named)
        sys.stderr.write("lied\n")
        sys.stderr.flush()
        node, manifest, read, inputs, outputs, *rest = given
        return execute(node, manifest, read, inputs, Changing(outputs), *rest, **named)

    setattr(runner, "execute", lying)  # noqa: B010 - the name under which the daemon calls it
    daemon(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
