"""The exit codes of the commands and their meanings."""

from __future__ import annotations

from plasm_core.errors import (
    ConfigError,
    ConnectionLostError,
    FilesNotServedError,
    PeerUnreachableError,
    PlasmError,
    PluginError,
    ReceiptRejectedError,
    ReceiptUndecidedError,
    WaitTimeoutError,
)

OK, FAILURE, USAGE, CONFIGURATION, PLUGIN, UNREACHABLE, JOB_FAILED, REJECTED, UNDECIDED = range(9)

EPILOGUE = (
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 configuration, 4 plugin, 5 no peer or daemon reachable, "
    "6 job failed, 7 receipt rejected, 8 undecided."
)


_CODES: dict[type[PlasmError], int] = {
    ConfigError: CONFIGURATION,
    PluginError: PLUGIN,
    PeerUnreachableError: UNREACHABLE,
    ConnectionLostError: UNREACHABLE,
    WaitTimeoutError: UNREACHABLE,
    ReceiptRejectedError: REJECTED,
    FilesNotServedError: REJECTED,
    ReceiptUndecidedError: UNDECIDED,
}


def exit_code(error: PlasmError) -> int:
    """Return the exit code of an error."""
    return next((code for cls, code in _CODES.items() if isinstance(error, cls)), FAILURE)
