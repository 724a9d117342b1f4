"""Every error a caller can act on.

`PlasmError` is the root and is never raised itself.
A message is lower case and says what was wrong with what; `hint`, where there is one, says what to do about it.
This module imports nothing, since sandboxed workers use it too.
"""

from __future__ import annotations


class PlasmError(Exception):
    """Root of all errors that Plasm raises on purpose."""

    handle: str | None = None
    """Of a job that a node had accepted before the error: keep it, it opens the job's result."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InvalidRecordError(PlasmError):
    """Some bytes are not the record they were taken for. `problems` holds every (path, message) found."""

    def __init__(self, record: str, problems: list[tuple[str, str]]) -> None:
        self.record = record
        self.problems = problems
        lines = [f"{path}: {text}" if path else text for path, text in problems]
        super().__init__(f"not a valid {record}: " + "; ".join(lines))


class RefusedError(PlasmError):
    """A job was refused before it was accepted, so there is no receipt. `reason` is a stable code.

    `retry_after_s` says when to ask again, if asking again may help.
    """

    def __init__(
        self, reason: str, message: str, *, hint: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.retry_after_s = retry_after_s


class BadModuleError(RefusedError):
    """The module itself can never run here, whatever the node."""


class QueueFullError(RefusedError):
    """There is no place in the queue now. `retry_after_s` says when to ask again."""

    def __init__(self, message: str, *, retry_after_s: int, hint: str | None = None) -> None:
        super().__init__("queue_full", message, hint=hint, retry_after_s=retry_after_s)


class CompileLimitError(RefusedError):
    """The module could not be prepared or compiled within the node's limits."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__("compile_limit", message, hint=hint)


class ConfigError(PlasmError):
    """The configuration (file, environment or flags) cannot be used."""


class PluginError(PlasmError):
    """A plugin cannot be used. The subclasses say why."""


class PluginMissingError(PluginError):
    """No installed distribution provides the plugin, or what it needs is not installed."""


class PluginBrokenError(PluginError):
    """The plugin is installed, but importing or configuring it failed."""


class PluginConflictError(PluginError):
    """Two installed distributions provide a plugin of the same name."""


class KeyFileError(PlasmError):
    """A key file is missing, unreadable, not a key, or open to other users."""


class OutputFileError(PlasmError):
    """A file that the caller named cannot be written."""


class StorageError(PlasmError):
    """State or cache cannot be read or kept: the directory, the disk or what lies there is at fault."""


class StorageFullError(StorageError):
    """There is no room: the disk is full, or a quota of this node is used up."""


class StateInUseError(StorageError):
    """Another daemon has the state directory."""


class JobEndedError(PlasmError):
    """The job has a result already, or is gone: what was asked for is possible only before."""


class OutputGoneError(PlasmError):
    """An output is not there any more: its job was released, has expired, or has been started again."""


class SandboxError(PlasmError):
    """A worker process could not be started or died by no fault of the guest."""


class TransportError(PlasmError):
    """A transport cannot listen, or cannot be used as it is configured."""


class PeerUnreachableError(TransportError):
    """A peer or daemon could not be dialled, or is not the one that was asked for."""


class NodeStalledError(PeerUnreachableError):
    """A node answers and does not go on: a step of its work took longer than the client waits for it."""


class StreamError(PlasmError):
    """A stream broke: the other side reset it, went away, or proved to be someone else."""


class ProtocolError(PlasmError):
    """The other side sent what the job protocol does not allow (docs/protocol.md)."""


class ConnectionLostError(PlasmError):
    """A conversation with a node broke off. What had been accepted goes on; asking again is safe."""


class WaitTimeoutError(PlasmError):
    """The caller's own deadline passed. The message says what was being waited for."""


class ReceiptRejectedError(PlasmError):
    """A node's receipt does not hold for the job that was asked for. `reasons` says why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("receipt rejected: " + "; ".join(reasons))
        self.reasons = reasons


class ReceiptUndecidedError(PlasmError):
    """It could not be decided whether a node's receipt holds. `reasons` says why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("receipt undecided: " + "; ".join(reasons))
        self.reasons = reasons
