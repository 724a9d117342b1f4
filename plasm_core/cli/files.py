"""The files that a command leaves: the receipt and the manifest of a job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
import click

from plasm_core.cli import render
from plasm_core.errors import OutputFileError
from plasm_core.output_file import OutputFile


@attrs.frozen(kw_only=True)
class Files:
    """The files for receipt and manifest, None for no file. Checked before the job runs, to find mistakes early."""

    receipt: OutputFile | None = None
    manifest: OutputFile | None = None

    @classmethod
    def prepared(
        cls, *, receipt: str | None = None, manifest: str | None = None, read: Sequence[str | None] = ()
    ) -> Files:
        """Check both files. `read`: files that the command reads, which must not be replaced.

        Raises: `OutputFileError`, `click.UsageError`.
        """
        files = cls(receipt=_prepared(receipt), manifest=_prepared(manifest))
        for option, target in (("--receipt", files.receipt), ("--manifest", files.manifest)):
            for file in filter(None, read):
                if target is not None and target.replaces(file):
                    raise click.UsageError(f"{option} would replace {file}, which this command reads")
        if files.receipt and files.manifest and _replace_each_other(files.receipt, files.manifest):
            raise click.UsageError(f"--receipt and --manifest name the same file: {manifest}")
        return files

    @contextmanager
    def written(self, *, receipt: bytes, manifest: bytes, others: Sequence[bytes] = ()) -> Iterator[None]:
        """Write both files, even if one fails; then run the block; then raise the first error.

        A receipt that cannot be written, for example to a full disk, is printed on stderr, because there is no
        other copy of it. `others`: the receipts of other nodes of a quorum, kept beside the first as `r-2.json`, ….
        Raises: `OutputFileError`.
        """
        problem: OutputFileError | None = None
        beside = [(self._beside(number), data) for number, data in enumerate(others, start=2)]
        for target, data in ((self.receipt, receipt), *beside, (self.manifest, manifest)):
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

    def _beside(self, number: int) -> OutputFile | None:
        """Return the file for another receipt; None if there is none for the first, or it is a stream."""
        if self.receipt is None or self.receipt.descriptor is not None or self.receipt.is_stream:
            return None
        stem, extension = os.path.splitext(self.receipt.name)
        return OutputFile.prepared(f"{stem}-{number}{extension}")


def _prepared(file: str | None) -> OutputFile | None:
    return None if file is None else OutputFile.prepared(file)


def _replace_each_other(one: OutputFile, other: OutputFile) -> bool:
    return one.path == other.path and not one.is_stream and one.descriptor is None
