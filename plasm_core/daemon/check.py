"""`plasmd --check`: find what would keep the daemon from starting, without starting it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from plasm_core import diagnostics, paths
from plasm_core.config import Config
from plasm_core.daemon.store.disk import storage_errors
from plasm_core.daemon.store.lock import DirectoryLock
from plasm_core.daemon.store.schema import current_schema, refuse_foreign
from plasm_core.errors import StateInUseError
from plasm_core.ownership import check_directory
from plasm_core.plugins.interfaces import Transport
from plasm_core.sandbox.process.spawner import refuse_missing


def check_start(config: Config, transports: Sequence[Transport]) -> str | None:
    """Try the steps of a start: sandbox layers, state directory, socket, group and ports.

    Undo all of them. Return a sentence that says which steps were not tried because a running daemon holds the ports
    and the socket; None if all were tried.

    Raises: `PlasmError` that a start would end with.
    """
    if config.sandbox.require:
        refuse_missing(diagnostics.missing_layers(), config.sandbox)
    try:
        _check_state(paths.state_directory())
    except StateInUseError as exc:
        return f"{exc}: its socket and ports were not tried"
    for transport in transports:
        transport.try_listening()
    return None


def _check_state(state: Path) -> None:
    if not state.exists():
        return
    with storage_errors("use the state directory", state):
        check_directory(state)
        if not os.access(state, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if (state / "plasmd.lock").exists():
            DirectoryLock(state / "plasmd.lock").release()
        refuse_foreign(state / "plasmd.db", current_schema())
