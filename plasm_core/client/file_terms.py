"""A job's files as a Python program names them: `files=`, `outputs=`, `file_limits=`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from plasm_core.records.files import DEFAULT_FILE_LIMITS, FileLimits, JobFiles

if TYPE_CHECKING:
    from plasm_core.client.file_tree import FileTree
    from plasm_core.sandbox.process.file_pack import FilePack

FILE_TERMS = ("files", "outputs", "file_limits")


@attrs.frozen
class InputDirectory:
    """A directory of this machine whose files a job gets a copy of.

    `writable`: the job may change its copy. `follow_links`: copy the targets of symbolic links instead of refusing
    the links.
    """

    path: str | Path
    writable: bool = attrs.field(default=False, kw_only=True)
    follow_links: bool = attrs.field(default=False, kw_only=True)


FileContent = bytes | str | Path | InputDirectory
"""The bytes of a file, or the path of a file or directory of this machine. A plain directory is read-only for the job."""


def has_files(terms: Mapping[str, Any]) -> bool:
    """Return whether terms are those of a job with files."""
    return any(name in terms for name in FILE_TERMS)


def pack_files(terms: Mapping[str, Any]) -> tuple[FilePack, JobFiles]:
    """Read the files named in a job's terms, once.

    The caller closes the pack.

    Raises: TypeError; ValueError if they make no valid tree or manifest; OSError.
    """
    from plasm_core.client.file_tree import (
        TEMPORARY,
        FileTree,
    )  # with tarfile and zipfile: only jobs with files

    files = terms.get("files", {})
    if not isinstance(files, Mapping):
        raise TypeError(f"files: expected a mapping of paths to contents, got {type(files).__name__}")
    outputs = terms.get("outputs", ())
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Iterable):
        raise TypeError(f"outputs: expected a list of paths, got {type(outputs).__name__}")
    limits = terms.get("file_limits", DEFAULT_FILE_LIMITS)
    if not isinstance(limits, FileLimits):
        raise TypeError(f"file_limits: expected FileLimits, got {type(limits).__name__}")
    tree, names = FileTree(), []
    for path, content in files.items():
        if not isinstance(path, str):
            raise TypeError(f"files: expected paths that are str, got {path!r:.80}")
        _add(tree, path, content)
    for path in outputs:
        if not isinstance(path, str):
            raise TypeError(f"outputs: expected paths that are str, got {path!r:.80}")
        names.append(tree.make_output(path))
    tree.make_directory(TEMPORARY)
    pack = tree.pack()
    try:
        return pack, tree.asked(pack, outputs=tuple(names), limits=limits)
    except BaseException:
        pack.close()
        raise


def _add(tree: FileTree, path: str, content: Any) -> None:
    from plasm_core.client.file_tree import is_directory

    if isinstance(content, InputDirectory):
        tree.add_directory(
            content.path, path, read_only=not content.writable, follow_links=content.follow_links
        )
    elif isinstance(content, (bytes, bytearray, memoryview)):
        tree.add_bytes(bytes(content), path)
    elif not isinstance(content, (str, os.PathLike)):
        raise TypeError(
            f"files: expected bytes, a path or an InputDirectory for {path!r:.80}, got {type(content).__name__}"
        )
    elif is_directory(place := Path(content)):
        tree.add_directory(place, path)
    else:
        tree.add_file(place, path)
