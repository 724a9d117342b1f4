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
    """Bytes are not a valid record. `problems`: every (path, message) found."""

    def __init__(self, record: str, problems: list[tuple[str, str]]) -> None:
        self.record = record
        self.problems = problems
        lines = [f"{path}: {text}" if path else text for path, text in problems]
        super().__init__(f"not a valid {record}: " + "; ".join(lines))


class ProofRefusedError(PlasmError):
    """A fraud proof proves nothing. `code` is the reason's stable name (docs/fraud-proofs.md)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(PlasmError):
    """A job was refused before it was accepted, so there is no receipt. `reason` is a stable code.

    `retry_after_s`: seconds after which another try may succeed.
    """

    def __init__(
        self, reason: str, message: str, *, hint: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.retry_after_s = retry_after_s


class BadModuleError(RefusedError):
    """The module itself cannot run, on any node."""


class QueueFullError(RefusedError):
    """The queue is full. `retry_after_s`: seconds until another try."""

    def __init__(self, message: str, *, retry_after_s: int, hint: str | None = None) -> None:
        super().__init__("queue_full", message, hint=hint, retry_after_s=retry_after_s)


class CompileLimitError(RefusedError):
    """The module could not be prepared or compiled within the node's limits."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__("compile_limit", message, hint=hint)


class ConfigError(PlasmError):
    """The configuration (file, environment or flags) cannot be used.

    `problems`: each wrong key by its path, such as `transport.local.mode`, with the problem; empty if unknown.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, problems: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class PluginError(PlasmError):
    """A plugin cannot be used. The subclasses say why."""


class PluginMissingError(PluginError):
    """No installed distribution provides the plugin, or a library that it needs is not installed."""


class PluginBrokenError(PluginError):
    """The plugin is installed, but importing or configuring it failed."""


class PluginConflictError(PluginError):
    """Two installed distributions provide a plugin of the same name."""


class KeyFileError(PlasmError):
    """A key file is missing, unreadable, not a key, or open to other users."""


class FilesNotServedError(PlasmError):
    """A node does not serve the files that its receipt says a job left, or serves others."""


class OutputFileError(PlasmError):
    """A file that the caller named cannot be written."""


class StorageError(PlasmError):
    """State or cache cannot be read or written, because of the directory, the disk or its content."""


class StorageFullError(StorageError):
    """There is no room: the disk is full, or a quota of this node is used up."""


class DiskFullError(StorageFullError):
    """The file system is full, which is more than a quota: only its operator can make room."""


class StateInUseError(StorageError):
    """Another daemon has the state directory."""


class BundleError(PlasmError):
    """A bundle cannot be read or written, or lacks something that one of its receipts names."""


class JobEndedError(PlasmError):
    """The job has a result already, or is gone, so that the call is too late."""


class OutputGoneError(PlasmError):
    """An output was deleted: its job was released, has expired, or has been started again."""


class SandboxError(PlasmError):
    """A worker process could not be started or died, and the guest is not at fault."""


class TransportError(PlasmError):
    """A transport cannot listen, or its configuration cannot be used."""


class PeerUnreachableError(TransportError):
    """A peer or daemon could not be dialled, or has another identity than expected."""


class NodeStalledError(PeerUnreachableError):
    """A node stays connected but makes no progress: a step took longer than the client waits."""


class StreamError(PlasmError):
    """A stream broke: the peer reset it, went away, or proved another identity."""


class ProtocolError(PlasmError):
    """The peer violated the job protocol (docs/protocol.md)."""


class ConnectionLostError(PlasmError):
    """The connection to a node broke. An accepted job continues; repeating the request is safe."""


class WaitTimeoutError(PlasmError):
    """The caller's deadline passed. The message says what the client was waiting for."""


class ReceiptRejectedError(PlasmError):
    """A node's receipt is not valid for the job. `reasons` says why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("receipt rejected: " + "; ".join(reasons))
        self.reasons = reasons


class JobFailedError(PlasmError):
    """A job failed, with a valid receipt: it exited with another code than 0, trapped, or reached a limit.

    Raised by `JobResult.check` only. `result` is the verified `JobResult`.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


class ReceiptUndecidedError(PlasmError):
    """The verifiers could not decide whether a node's receipt is valid. `reasons` says why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("receipt undecided: " + "; ".join(reasons))
        self.reasons = reasons
