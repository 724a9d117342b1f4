"""The files that a command leaves: the receipt and the manifest of a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import click

from plasm_core.cli import render
from plasm_core.errors import OutputFileError
from plasm_core.output_file import OutputFile


@attrs.frozen(kw_only=True)
class Files:
    """Where receipt and manifest go, None for nowhere. Made before the job runs, so that mistakes show then."""

    receipt: OutputFile | None = None
    manifest: OutputFile | None = None

    @classmethod
    def prepared(cls, *, receipt: str | None = None, manifest: str | None = None) -> Files:
        """Look at both places. Raises: `OutputFileError`, `click.UsageError`."""
        files = cls(receipt=_prepared(receipt), manifest=_prepared(manifest))
        if files.receipt and files.manifest and _replace_each_other(files.receipt, files.manifest):
            raise click.UsageError(f"--receipt and --manifest name the same file: {manifest}")
        return files

    @contextmanager
    def written(self, *, receipt: bytes, manifest: bytes) -> Iterator[None]:
        """Write both, whatever goes wrong with one of them; then the block; then raise what went wrong.

        A receipt that its file does not take, on a full disk perhaps, is shown on stderr: the job ran, and there
        is no other copy. Raises: `OutputFileError`.
        """
        problem: OutputFileError | None = None
        for target, data in ((self.receipt, receipt), (self.manifest, manifest)):
            if target is None:
                continue
            try:
                target.write(data)  # the manifest to the byte: its digest is the job id
            except OutputFileError as exc:
                render.show_unwritten(target.name, data)
                problem = problem or exc
        yield
        if problem is not None:
            raise problem


def _prepared(file: str | None) -> OutputFile | None:
    return None if file is None else OutputFile.prepared(file)


def _replace_each_other(one: OutputFile, other: OutputFile) -> bool:
    return one.path == other.path and not one.is_stream and one.descriptor is None
