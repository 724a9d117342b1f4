"""The error for a file of this machine that a command was to read and cannot."""

from __future__ import annotations

import click

from plasm_core.missing_path import missing_hint


class InputFileError(click.ClickException):
    """A named file cannot be read. `hint`: what to do about it, printed on a line of its own."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def unreadable(path: str, exc: OSError, *, what: str = "") -> InputFileError:
    """Return the error for a file that cannot be read. `what`: what it is, such as `module`."""
    hint = missing_hint(path) if isinstance(exc, FileNotFoundError) else None
    noun = f"{what} " if what else ""
    return InputFileError(f"cannot read {noun}{path}: {exc.strerror or exc}", hint)
