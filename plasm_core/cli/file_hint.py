"""The hint for a job that failed at what it may do with its files: the option that allows it."""

from __future__ import annotations

from plasm_core.quantities import bytes_text
from plasm_core.records import Receipt
from plasm_core.records.files import MAX_DATA_BYTES, MAX_DESCRIPTORS, ROOT
from plasm_core.tree_listing import MAX_ENTRIES

TAIL_BYTES = 16 << 10
"""How much of the end of each output is searched for the words of an error."""

_ENDS = ("exited", "trapped")
"""Ends that may have such a cause; any other end is a limit of its own."""
_READ_ONLY = "read-only file system"
_NO_SPACE = "no space left on device"
_DESCRIPTORS = ("too many open files", "no file descriptors available")


def file_hint(receipt: Receipt, output: bytes) -> str | None:
    """Return the option that allows what the job was refused, None if that is not known.

    A receipt does not state what a job was refused. An output that is missing below a read-only directory is proof
    of it; else the end of the job's own output (`output`) is searched for the texts of the C library, which nearly
    all programs and interpreters print.
    """
    asked, outcome = receipt.asked.files, receipt.result.outcome
    if asked is None or outcome.kind not in _ENDS or (outcome.ok and not receipt.missing_outputs):
        return None
    words = output[-2 * TAIL_BYTES :].decode("utf-8", "replace").lower()
    for missing in receipt.missing_outputs:
        for path in asked.read_only:
            if path == ROOT or missing == path or missing.startswith(f"{path}/"):
                return _writable(path)
    if asked.read_only and _READ_ONLY in words:
        named = [path for path in asked.read_only if f"{path.lower()}/" in words]
        return _writable(*(named or asked.read_only))
    limits = asked.limits
    if _NO_SPACE in words:
        return _more(
            ("bytes", limits.data_bytes, max(2 * limits.data_bytes, 1 << 20), MAX_DATA_BYTES),
            ("entries", limits.entries, 2 * limits.entries, MAX_ENTRIES),
        )
    if any(text in words for text in _DESCRIPTORS):
        return _more(("descriptors", limits.descriptors, 2 * limits.descriptors, MAX_DESCRIPTORS))
    return None


def _writable(*paths: str) -> str:
    path = paths[0]
    names = "its whole tree" if ROOT in paths else ", ".join(paths)
    verb = "is" if len(paths) == 1 else "are"
    return f"{names} {verb} read-only for the job: --dir HOST:{path}:rw lets it change its copy"


def _more(*limits: tuple[str, int, int, int]) -> str | None:
    """Return the options that raise limits, each given by its name, value, a higher value and the highest."""
    raised = [
        f"--file-limit {name}={_text(name, min(more, most))} (it was {_text(name, value)})"
        for name, value, more, most in limits
        if value < most
    ]
    return " or ".join(raised) or None


def _text(name: str, value: int) -> str:
    return bytes_text(value) if name == "bytes" else str(value)
