"""A worker that is started without a zygote: loads one artefact, serves one job.

Engines with threads cannot be forked, and some platforms lack the zygote's system calls.
"""

from __future__ import annotations

import _socket
import os
import resource
from typing import Any

from plasm_core.plugins.engine import Engine, HostedEngine
from plasm_core.sandbox.process import confinement, entry, worker
from plasm_core.sandbox.process.descriptor import read_all
from plasm_core.sandbox.process.zygote_messages import pack_ready


def main(spec: dict[str, Any]) -> None:
    """Serve the job that arrives on `socket_fd` with the artefact in `artefact_fd`.

    The first message lists the missing sandbox layers, as a zygote's does.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, spec["socket_fd"])
    engine: Engine | HostedEngine = entry.make(spec["entry"], spec["options"])
    confinement.allow_deep_stack()
    silence = os.open(os.devnull, os.O_RDWR)
    missing = confinement.lock_down(spec["confinement"])
    artefact = read_all(spec["artefact_fd"])
    os.close(spec["artefact_fd"])
    # An engine with a host of its own reads the module itself: under the limits of its job, which arrives first.
    loaded = None if isinstance(engine, HostedEngine) else engine.load(artefact)
    ready = pack_ready(missing)
    sock.sendall(len(ready).to_bytes(4, "little") + ready)
    for fd in (1, 2):
        os.dup2(silence, fd)
    os.close(silence)
    confinement.limit(resource.RLIMIT_FSIZE, 0)
    if isinstance(engine, HostedEngine):
        worker.serve_hosted(sock, engine, artefact, lambda: _tighten(spec["running_filter"]))
    elif loaded is not None:
        worker.serve(sock, loaded, worker.make_instance(loaded), lambda: _tighten(spec["running_filter"]))


def _tighten(running_filter: str | None) -> None:
    """Take away what starting took: new processes and threads, and system calls, in every thread there is."""
    confinement.limit(resource.RLIMIT_NPROC, 0)
    if running_filter is not None:
        confinement.filter_all_threads(bytes.fromhex(running_filter))
