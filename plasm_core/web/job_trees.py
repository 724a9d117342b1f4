"""The files of a job out of a received form: its input tree, and what the job keeps of it (docs/http.md, "Files")."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO

import attrs

from plasm_core.client.file_tree import TEMPORARY, FileTree, FileTreeError, guest_name
from plasm_core.client.tree_archive import ArchiveError, FilePart, TreeArchive
from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.records import Manifest
from plasm_core.records.fields import ConstraintError
from plasm_core.records.files import JobFiles
from plasm_core.records.files_description import FilesDescription
from plasm_core.resource_hint import resource_hint
from plasm_core.sandbox.process.file_pack import FilePack, check_files, read_pack
from plasm_core.tree_listing import ListingError
from plasm_core.web.forms import Form
from plasm_core.web.problems import ApiProblem, invalid
from plasm_core.web.upload_room import UploadPlace
from plasm_core.web.uploads import StoredFile, disk_file

FILES = ("file", "tree", "pack")
TEXTS = frozenset({"treeDigest", "outputs", "files"})
_OF_A_TREE = ("file", "tree")


@attrs.frozen(kw_only=True)
class JobTree:
    """A job's input tree, and what its manifest says of it. The pack is open until its receiver closes it."""

    pack: FilePack
    asked: JobFiles


def has_tree(form: Form) -> bool:
    """Return whether a form is that of a job with files. Raises: `ApiProblem` if its parts exclude each other."""
    given = [name for name in (*FILES, *sorted(TEXTS)) if name in form.files or name in form.texts]
    exact = [name for name in given if name in ("pack", "treeDigest")]
    others = [name for name in given if name in _OF_A_TREE]
    if len(exact) > 1 or (exact and others):
        raise invalid(exact[0], f"{exact[0]} is the whole tree: leave out {', '.join([*exact[1:], *others])}")
    if "manifest" in form.texts and (wrong := [name for name in ("files", "outputs") if name in given]):
        raise invalid(wrong[0], "what the job keeps, and its limits, are in the manifest: leave it out here")
    return bool(given)


def tree_of(form: Form, place: UploadPlace, open_tree: Callable[[str], StoredFile]) -> JobTree:
    """Return the files that a form describes. Blocks. The caller closes the pack.

    `open_tree`: opens the pack of a tree that the token has sent before. Raises: `ApiProblem`, `InvalidRecordError`,
    `StorageError`.
    """
    manifest = form.one("manifest")
    named = None if manifest is None else Manifest.from_json(manifest).files
    if manifest is not None and named is None:
        raise invalid("manifest", "it has no files: leave out those of the form, or name them in it")
    described = _description(form)
    with _telling():
        outputs, pack = _packed(form, place, open_tree, described, named)
    try:
        asked = named or _asked(pack, outputs, described)
        if asked.tree != pack.tree:
            raise ApiProblem(
                422,
                "digest_mismatch",
                f"the files are the tree {pack.tree}, and not the one that the manifest names",
                errors=[("tree", f"its digest is {pack.tree}")],
            )
        check_files(asked, pack)
    except RefusedError as exc:
        pack.close()
        raise ApiProblem(422, exc.reason, str(exc)) from exc
    except BaseException:
        pack.close()
        raise
    return JobTree(pack=pack, asked=asked)


def _description(form: Form) -> FilesDescription:
    given, outputs = form.one("files"), form.texts.get("outputs")
    described = FilesDescription() if given is None else FilesDescription.from_json(given)
    if outputs is None:
        return described
    if described.outputs:
        raise invalid("outputs", "give them either as parts, or in the part files")
    try:
        return attrs.evolve(described, outputs=tuple(item.decode() for item in outputs))
    except (UnicodeDecodeError, ConstraintError):
        raise invalid("outputs", "expected paths of the job's tree, without control characters") from None


def _packed(
    form: Form,
    place: UploadPlace,
    open_tree: Callable[[str], StoredFile],
    described: FilesDescription,
    named: JobFiles | None,
) -> tuple[tuple[str, ...], FilePack]:
    """Return the names of the outputs, and the pack. Raises: `ApiProblem`, `FileTreeError`, `ListingError`, OSError."""
    if (digest := form.one("treeDigest")) is not None:
        with open_tree(digest.decode("ascii", "replace")) as kept:
            return _exact_names(described), _own_pack(kept, place.maximum, tree=kept.digest)
    if (sent := form.files.get("pack")) is not None:
        return _exact_names(described), _own_pack(sent, place.maximum)
    with FileTree() as tree:
        if (archive := form.files.get("tree")) is not None:
            _add_archive(tree, archive, place)
        if (file := form.files.get("file")) is not None:
            _add_parts(tree, form, file)
        wanted = described.outputs if named is None else named.outputs
        outputs = tuple(tree.make_output(path) for path in wanted)
        tree.make_directory(TEMPORARY)
        counted = 0

        def progress(read: int) -> None:
            nonlocal counted
            place.take(read - counted)
            counted = read

        return outputs, tree.pack(progress=progress, scratch=disk_file)


def _exact_names(described: FilesDescription) -> tuple[str, ...]:
    return tuple(guest_name(path) for path in described.outputs)


def _own_pack(file: StoredFile, maximum: int, *, tree: str | None = None) -> FilePack:
    """Return a pack with a descriptor of its own. `tree`: its digest, if its blobs were compared before."""
    fd = os.dup(file.file.fileno())
    try:
        return read_pack(fd, file.size_bytes, tree=tree, maximum_bytes=maximum, checked=tree is None)
    except BaseException:
        os.close(fd)
        raise


def _add_archive(tree: FileTree, archive: StoredFile, place: UploadPlace) -> None:
    opened = TreeArchive(
        archive.file,
        name="tree",
        maximum_bytes=place.maximum,
        scratch=disk_file,
        unpacking=place.take,
    )
    tree.add_archive(opened, "", read_only=False)


def _add_parts(tree: FileTree, form: Form, file: StoredFile) -> None:
    for part in form.named["file"]:
        if part.path.endswith("/"):
            if part.size_bytes:
                raise FileTreeError(f"{part.path!a}: a directory has no bytes")
            tree.make_directory(part.path)
            continue
        tree.add_opened(part.path, part.size_bytes, partial(_opened, file.file, part.offset, part.size_bytes))


def _opened(file: IO[bytes], offset: int, size: int) -> FilePart:
    return FilePart(file, offset, size)


def _asked(pack: FilePack, outputs: tuple[str, ...], described: FilesDescription) -> JobFiles:
    try:
        return JobFiles(
            tree=pack.tree,
            read_only=tuple(sorted({guest_name(path) for path in described.read_only})),
            outputs=tuple(sorted(set(outputs))),
            limits=described.limits.limits,
        )
    except (ConstraintError, ValueError) as exc:
        raise ApiProblem(422, "bad_files", str(exc)) from exc


@contextmanager
def _telling() -> Iterator[None]:
    """Raise what is wrong with the files as `ApiProblem`, and errors of the disk as `StorageError`."""
    try:
        yield
    except (FileTreeError, ArchiveError, ListingError) as exc:
        raise ApiProblem(
            422,
            "bad_files",
            f"the files make no tree: {exc}",
            hint="docs/http.md says what a tree may have: files and directories by relative paths",
        ) from exc
    except UnicodeEncodeError as exc:
        raise ApiProblem(422, "bad_files", "a path of the files is not UTF-8") from exc
    except OSError as exc:
        hint = resource_hint(exc)
        kind = StorageError if hint is None else StorageFullError
        raise kind(f"cannot store the job's files: {exc.strerror or exc}", hint=hint) from exc
