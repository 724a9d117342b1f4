"""A worker started by itself, where there is no zygote to fork it: loads one artefact, serves one job."""

from __future__ import annotations

import _socket
import os
import resource
from typing import Any

from plasm_core.engine import Engine
from plasm_core.sandbox import confine, entry, worker
from plasm_core.sandbox.descriptor import read_all


def main(spec: dict[str, Any]) -> None:
    """Serve the job that comes over `socket_fd` on the artefact in `artefact_fd`."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, spec["socket_fd"])
    engine: Engine = entry.make(spec["entry"], spec["options"])
    confine.allow_deep_stack()
    confine.lock_down(spec["confinement"])
    loaded = engine.load(read_all(spec["artefact_fd"]))
    os.close(spec["artefact_fd"])
    confine.limit(resource.RLIMIT_FSIZE, 0)
    worker.serve(sock, loaded, worker.make_instance(loaded), lambda: confine.limit(resource.RLIMIT_NPROC, 0))
