"""A real daemon that signs false results: it runs each job, and changes what it writes, in some jobs.

`python -m tests.support.wrong_daemon KIND ARGUMENT…`, in the daemon's place. KIND: `never`; `always`; `record-N`, which
is honest in its first N jobs and lies then; or `once:DIRECTORY`, which lies about a task unless it, or another node with
the same directory, has had that task before: then it takes the job for an audit. It logs the key of each client.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from plasm_core import execution
from plasm_core.daemon import runner
from plasm_core.daemon.main import main as daemon
from plasm_core.daemon.scheduling.owners import Owner, Owners
from plasm_core.records import Manifest, PeerId
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
    execute, owner_of, done = execution.execute, Owners.of, 0

    def is_lie(manifest: Manifest) -> bool:
        if kind == "never":
            return False
        if kind.startswith("record-"):
            return done > int(kind.removeprefix("record-"))
        if kind.startswith("once:"):
            try:
                (Path(kind.removeprefix("once:")) / manifest.task_digest).touch(exist_ok=False)
            except FileExistsError:
                sys.stderr.write("recognised an audit\n")
                return False
        return True

    def lying(*given: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if not is_lie(given[1]):
            return execute(*given, **named)
        sys.stderr.write("lied\n")
        sys.stderr.flush()
        node, manifest, read, inputs, outputs, *rest = given
        return execute(node, manifest, read, inputs, Changing(outputs), *rest, **named)

    def watched(owners: Owners, peer: PeerId | None, group: str) -> Owner:
        if peer is not None:
            sys.stderr.write(f"client {peer}\n")
            sys.stderr.flush()
        return owner_of(owners, peer, group)

    setattr(runner, "execute", lying)  # noqa: B010 - the name under which the daemon calls it
    setattr(Owners, "of", watched)  # noqa: B010
    daemon(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
