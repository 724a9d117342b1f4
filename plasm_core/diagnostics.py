"""The checks of `plasm doctor`: each returns its finding and a hint."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import attrs

from plasm_core import paths
from plasm_core.config import SANDBOX_LAYERS
from plasm_core.errors import PlasmError, SandboxError
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.plugins import loading
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.converter import parse_json
from plasm_core.sandbox.layer_hints import layer_hint
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.child import reason, run_child, shortage
from plasm_core.version import __version__

OK, WARNING, FAILURE = "ok", "warning", "failure"
OPENING = "opening"
"""What a daemon that is starting finds of a transport that does not listen yet."""

_PROBE_S = 30
_LEAST_FREE_BYTES = 256 << 20
_FULL_BYTES = 1 << 20
FREE_SPACE = "free some space on its file system: nothing can be kept there, and a daemon accepts no job"
# (module (memory (export "memory") 1) (func (export "_start")))
_TRIAL = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)


@attrs.frozen(kw_only=True)
class Check:
    """One line of `plasm doctor`. `hint`: what to do."""

    name: str
    status: str
    found: str
    hint: str | None = None


def examine(node: LocalNode) -> Iterator[Check]:
    """Run every check, one after the other. None raises: an error becomes the check's finding."""
    yield from found("version", lambda: [Check(name="version", status=OK, found=_versions())])
    yield from found("key", lambda: [_key(node)])
    yield from found("sandbox", lambda: _layers(node))
    yield from found("runtimes", lambda: _engines(node))
    yield from found("state", lambda: [disk("state", paths.state_directory())])
    yield from found("cache", lambda: [disk("cache", paths.cache_directory())])
    yield from found("temporary files", lambda: [_temporary()])
    yield from found("libraries", lambda: [_libraries()])
    yield from found("clock", lambda: [_clock()])


def found(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Run some checks. An exception becomes a failed check."""
    try:
        yield from look()
    except PlasmError as exc:
        yield Check(name=name, status=FAILURE, found=str(exc), hint=exc.hint)
    except OSError as exc:
        where = f": {exc.filename}" if exc.filename else ""
        yield Check(name=name, status=FAILURE, found=f"{exc.strerror or exc}{where}")
    except Exception as exc:
        yield Check(name=name, status=FAILURE, found=f"{type(exc).__name__}: {exc}")


def _temporary() -> Check:
    try:
        directory = tempfile.gettempdir()
    except OSError:
        hint = "set TMPDIR to a directory that may be written to; the state directory serves meanwhile"
        return Check(
            name="temporary files", status=WARNING, found="there is no directory for them", hint=hint
        )
    return disk("temporary files", Path(directory))


def _versions() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"plasm {__version__}, {python}, {platform.system()} {platform.release()}"


_LIBRARIES = ("aioquic", "cryptography", "libp2p", "trio", "wasmtime")


def _libraries() -> Check:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return Check(name="libraries", status=OK, found=", ".join(found))


_TIME_ERROR = 5
_TIMEX_BYTES = 512  # struct timex has 208 on 64-bit systems, and all of it zero only asks (adjtimex(2))


def _clock() -> Check:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):  # not Linux
        state = -1
    if state == _TIME_ERROR:
        hint = (
            "others refuse records from the future or the past; switch it on with: timedatectl set-ntp true"
        )
        return Check(name="clock", status=WARNING, found=f"{now}, not synchronised", hint=hint)
    synchronised = "synchronised" if state >= 0 else "whether it is synchronised cannot be told"
    return Check(name="clock", status=OK, found=f"{now}, {synchronised}")


def _key(node: LocalNode) -> Check:
    try:
        peer = node.signer.existing_peer_id()
    except PlasmError as exc:
        return Check(name="key", status=FAILURE, found=str(exc), hint=exc.hint)
    if peer is None:
        return Check(
            name="key", status=WARNING, found="none yet", hint="the first run makes one, or: plasm key new"
        )
    return Check(name="key", status=OK, found=str(peer))


def missing_layers() -> dict[str, str]:
    """Return the sandbox layers that this platform lacks, with the reasons. Raises: `SandboxError`."""
    confinement = seccomp_filters.confinement(seccomp_filters.loading(), file_bytes=1 << 20)
    report = run_child(
        sys.executable,
        "plasm_core.sandbox.process.probe",
        {"confinement": confinement},
        title="plasm probe",
        pass_fds=[],
        timeout_s=_PROBE_S,
    )
    if report.returncode:
        raise SandboxError(
            f"the probe failed with exit code {report.returncode}: {reason(report.stderr)}",
            hint=shortage(report.stderr),
        )
    missing = parse_json(report.status, record="probe", maximum=65_536)
    return {str(layer): str(reason) for layer, reason in missing.items()}


def _layers(node: LocalNode) -> Iterator[Check]:
    try:
        missing = missing_layers()
    except PlasmError as exc:
        yield Check(name="sandbox", status=FAILURE, found=str(exc), hint=exc.hint)
        return
    required = node.config.sandbox.require
    for layer in SANDBOX_LAYERS:
        if layer not in missing:
            found = "not root: nothing to give up" if layer == "unprivileged_uid" and os.geteuid() else "on"
            yield Check(name=f"sandbox {layer}", status=OK, found=found)
        else:
            status = FAILURE if layer in required else WARNING
            hint = layer_hint(layer, missing[layer])
            yield Check(name=f"sandbox {layer}", status=status, found=f"missing: {missing[layer]}", hint=hint)


def _engines(node: LocalNode) -> Iterator[Check]:
    for plugin in loading.inventory(node.config.table):
        if plugin.kind != "runtime":
            continue
        name = f"runtime {plugin.name}"
        chosen = plugin.name == node.config.plasm.runtime
        if plugin.state != "installed":
            status = FAILURE if chosen or plugin.state != "missing" else WARNING
            hint = plugin.hint or (f"install it with: {plugin.install}" if plugin.install else None)
            yield Check(name=name, status=status, found=plugin.reason or plugin.state, hint=hint)
            continue
        yield _trial(node, name, plugin.name)


def _trial(node: LocalNode, name: str, runtime_name: str) -> Check:
    """Run a module that does nothing, all the way."""
    manifest = manifest_for(
        _TRIAL,
        JobInput(),
        limits=Limits(gas=1_000, memory_bytes=65_536, output_bytes=0),
        wall_time_s=_PROBE_S,
    )
    try:
        done = execute(node, manifest, lambda: _TRIAL, JobInput(), PassedOn(), runtime=runtime_name)
    except PlasmError as exc:
        return Check(name=name, status=FAILURE, found=str(exc), hint=exc.hint)
    outcome = done.run.outcome
    status = OK if outcome.ok else FAILURE
    return Check(name=name, status=status, found=f"{done.runtime.version()}, trial run {outcome}")


def disk(name: str, path: os.PathLike[str]) -> Check:
    """Check that a directory, or the one that it will be made in, can be written to and has room."""
    existing = os.fspath(path)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.access(existing, os.W_OK):
        return Check(name=name, status=FAILURE, found=f"{path} is not writable")
    free = shutil.disk_usage(existing).free
    found = f"{path}, {free >> 20:,} MiB free"
    if free < _FULL_BYTES:
        return Check(name=name, status=FAILURE, found=f"{path}: the disk is full", hint=FREE_SPACE)
    if free < _LEAST_FREE_BYTES:
        return Check(name=name, status=WARNING, found=found, hint="make room: new modules will not be cached")
    return Check(name=name, status=OK, found=found)
