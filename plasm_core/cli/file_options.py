"""The options of a job with files: `--file`, `--dir`, `--tree`, `--out`, `--links`, `--file-limit` (docs/files.md)."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from plasm_core.cli import option_values, render
from plasm_core.cli.host_paths import reading, split_archive, split_directory, split_file
from plasm_core.errors import OutputFileError
from plasm_core.quantities import bytes_text, shown_bytes
from plasm_core.records.files import (
    DEFAULT_FILE_LIMITS,
    LEAST_DESCRIPTORS,
    MAX_DATA_BYTES,
    MAX_DESCRIPTORS,
    ROOT,
    FileLimits,
    JobFiles,
    Product,
)
from plasm_core.tree_listing import MAX_ENTRIES

if TYPE_CHECKING:
    from plasm_core.cli.options import Task
    from plasm_core.client.file_tree import FileTree
    from plasm_core.client.output_tree import Destination
    from plasm_core.client.result_files import ResultFiles
    from plasm_core.client.submission import Submission
    from plasm_core.records import Receipt
    from plasm_core.sandbox.process.file_pack import FilePack

F = TypeVar("F", bound=Callable[..., Any])

_TELL_BYTES = 16 << 20
_LIMITS = {"bytes": "data_bytes", "entries": "entries", "descriptors": "descriptors"}
_BOUNDS = {
    "bytes": f"0 to {bytes_text(MAX_DATA_BYTES)}",
    "entries": f"0 to {MAX_ENTRIES}",
    "descriptors": f"{LEAST_DESCRIPTORS} to {MAX_DESCRIPTORS}",
}


@attrs.frozen(kw_only=True)
class FileOptions:
    """The options of a command line about a job's files, as the user wrote them."""

    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    follow_links: bool = False
    limits: FileLimits = DEFAULT_FILE_LIMITS
    keeps: bool = False
    """Whether outputs name no place of this machine: each job of a batch has a folder of its own."""

    @property
    def given(self) -> bool:
        """Whether the job has files."""
        return bool(self.files or self.directories or self.archives or self.outputs)

    @property
    def has_inputs(self) -> bool:
        """Whether input files are named."""
        return bool(self.files or self.directories or self.archives)

    def tree(self) -> FileTree:
        """Return the input tree, with the directories of outputs and one for temporary files.

        Raises: `click.ClickException`.
        """
        from plasm_core.client.file_tree import TEMPORARY, FileTree

        tree = FileTree(follow_links=self.follow_links)
        with _told():
            for text in self.files:
                host, guest = split_file(text)
                with reading("--file", text, host, guest):
                    tree.add_file(host, guest)
            for text in self.directories:
                host, guest, writable = split_directory(text)
                with reading("--dir", text, host, guest):
                    tree.add_directory(host, guest, read_only=not writable)
            for text in self.archives:
                host, guest, writable = split_archive(text)
                with reading("--tree", text, host, guest):
                    tree.add_archive(host, guest, read_only=not writable)
            for text in self.outputs:
                guest = text.partition(":")[0]
                tree.make_output(guest)
            tree.make_directory(TEMPORARY)
        return tree

    def asked(self, tree: FileTree, pack: FilePack) -> JobFiles:
        """Return the manifest's part about the files. Raises: `click.ClickException`."""
        with _told():
            return tree.asked(pack, outputs=tuple(self.targets), limits=self.limits)

    @functools.cached_property
    def _targets(self) -> dict[str, str]:
        from plasm_core.client.file_tree import guest_name

        found: dict[str, str] = {}
        with _told():
            for text in self.outputs:
                guest, _, host = text.partition(":")
                name = guest_name(guest)
                if name in found:
                    raise click.UsageError(
                        f"{'--keep' if self.keeps else '--out'} {text}: {name} is named twice"
                    )
                if not host and name == ROOT and not self.keeps:
                    raise click.UsageError(f"--out {text}: say where it goes, as in --out .:results")
                found[name] = host or os.path.basename(name)
        return found

    @property
    def targets(self) -> dict[str, str]:
        """The path of this machine for each output, by its path in the tree. Raises: `click.ClickException`."""
        return self._targets

    def product(self, guest: str, host: str) -> Product | None:
        """Return the file or tree on this machine at the place of an output, None if there is none. Raises:
        `click.ClickException`.
        """
        from plasm_core.client.file_tree import FileTree, is_directory

        if not os.path.lexists(host):
            return None
        tree = FileTree(follow_links=self.follow_links)
        with _told():
            if is_directory(host):
                tree.add_directory(host, "")
                with tree.pack() as pack:
                    return Product(path=guest, kind="tree", sha256=pack.tree)
            tree.add_file(host, "file")
            with tree.pack() as pack:
                return Product(path=guest, kind="file", sha256=next(pack.entries).digest.hex())

    @contextmanager
    def packed(self) -> Iterator[tuple[FilePack, JobFiles]]:
        """Read all files. Yield their pack with the manifest's part about them. Raises: `click.ClickException`."""
        with render.phases() as progress:
            progress("reading files")
            tree, told = self.tree(), 0

            def read(size: int) -> None:
                nonlocal told
                if size - told >= _TELL_BYTES:
                    told = size
                    progress(f"reading files: {shown_bytes(size)}")

            with _told(), tree:
                pack = tree.pack(progress=read)
        with pack:
            yield pack, self.asked(tree, pack)

    @contextmanager
    def submission(self, task: Task, module: str, args: tuple[str, ...]) -> Iterator[Submission]:
        """Make a submission, with its files if there are any, and close it. Raises: `click.ClickException`."""
        with ExitStack() as opened:
            pack, asked = opened.enter_context(self.packed()) if self.given else (None, None)
            yield opened.enter_context(task.submission(module, args, pack=pack, files=asked))

    def refuse_places(self, why: str) -> None:
        """Refuse outputs that name a place of this machine. Raises: `click.UsageError`."""
        for text in self.outputs:
            if ":" in text:
                option = "--keep" if self.keeps else "--out"
                raise click.UsageError(f"{option} {text}: name the path in the job's tree only; {why}")


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors about files into messages of the command line. Raises: `click.ClickException`."""
    try:
        yield
    except OSError as exc:
        name = exc.filename or "a file of the job"
        raise click.ClickException(f"cannot read {name}: {exc.strerror}") from exc
    except ValueError as exc:
        raise click.ClickException(str(exc)) from exc


def destinations(chosen: FileOptions) -> dict[str, Destination]:
    """Look at the places of all outputs before the job runs. Raises: `OutputFileError`, `click.UsageError`."""
    from plasm_core.client.output_tree import Destination

    found = {guest: Destination.prepared(host) for guest, host in chosen.targets.items()}
    places = [item.path for item in found.values()]
    for place in places:
        if places.count(place) > 1:
            raise click.UsageError(f"two outputs would go to {place}")
    return found


def write_outputs(left: ResultFiles, places: dict[str, Destination]) -> bool:
    """Write the outputs that a job left. Return whether it left every requested output. Raises: `OutputFileError`."""
    whole = True
    problem: OutputFileError | None = None
    for guest, place in places.items():
        entries = left.entries(guest)
        if not entries:
            render.show_mark("!", f"the job left no {guest}", stderr=True)
            whole = False
            continue
        try:
            place.write(left, entries)
        except OutputFileError as exc:
            problem = problem or exc
    if problem is not None:
        raise problem
    return whole


def directory_for(name: str) -> Destination:
    """Return the directory that all outputs are to be written into. Raises: `OutputFileError`."""
    from plasm_core.client.output_tree import Destination

    place = Destination.prepared(name.rstrip("/") or name)
    if place.file is not None and os.path.lexists(place.path):
        raise OutputFileError(
            f"cannot write {name}: it is a file", hint="name a new directory, or an empty one"
        )
    return place


def tell_missing(receipt: Receipt) -> bool:
    """Tell of the outputs that a job did not leave, and return whether there are any."""
    for path in receipt.missing_outputs:
        render.show_mark("!", f"the job left no {path}", stderr=True)
    return bool(receipt.missing_outputs)


def _limits(pairs: Sequence[str]) -> FileLimits:
    values = attrs.asdict(DEFAULT_FILE_LIMITS)
    given = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in _LIMITS or not equals or name in given:
            raise click.BadParameter(
                f"--file-limit {pair}: expected {', '.join(_LIMITS)} with =VALUE, each once"
            )
        given.add(name)
        values[_LIMITS[name]] = option_values.quantity(text, what=f"--file-limit {name}")
    try:
        return FileLimits(**values)
    except ValueError as exc:
        field = str(exc).partition(":")[0]
        name = next(name for name, its in _LIMITS.items() if its == field)
        raise click.BadParameter(f"--file-limit {name}: expected {_BOUNDS[name]}") from exc


def file_options(*, limits: bool, keeps: bool = False) -> Callable[[F], F]:
    """Give a command the options of files; it receives `job_files: FileOptions`. `limits`: with `--file-limit`.

    `keeps`: with `--keep` in place of `--out`, which is about the whole batch there.
    """
    chosen = [
        _KEEP if keeps and option is _OUT else option for option in _OPTIONS if limits or option is not _LIMIT
    ]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            files: tuple[str, ...],
            directories: tuple[str, ...],
            archives: tuple[str, ...],
            outputs: tuple[str, ...],
            links: str,
            file_limits: tuple[str, ...] = (),
            **values: Any,
        ) -> Any:
            found = FileOptions(
                files=files,
                directories=directories,
                archives=archives,
                outputs=outputs,
                follow_links=links == "follow",
                limits=_limits(file_limits),
                keeps=keeps,
            )
            if links == "follow" and not found.given:
                raise click.UsageError("--links is about --dir: it has no effect without it")
            if file_limits and not found.given:
                raise click.UsageError(
                    "--file-limit is about files: it has no effect without --file, --dir, --tree or "
                    + ("--keep" if keeps else "--out")
                )
            return command(*args, job_files=found, **values)

        decorated: Any = wrapped
        for option in reversed(chosen):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


_OUT = click.option(
    "--out",
    "outputs",
    multiple=True,
    metavar="GUEST[:HOST]",
    help="Keep this file or directory of the job's tree, as HOST; the default is its name.",
)
_KEEP = click.option(
    "--keep",
    "outputs",
    multiple=True,
    metavar="GUEST",
    help="Keep this file or directory of each job's tree, in the folder of the job that --out writes.",
)
_LIMIT = click.option(
    "--file-limit",
    "file_limits",
    multiple=True,
    metavar="NAME=VALUE",
    help="A limit on files: bytes=256MiB (that the job writes), entries=65536, descriptors=1024.",
)
_OPTIONS = (
    click.option(
        "--file",
        "files",
        multiple=True,
        metavar="HOST[:GUEST]",
        help="Give the job a copy of this file, as GUEST in its tree; the default is its name.",
    ),
    click.option(
        "--dir",
        "directories",
        multiple=True,
        metavar="HOST:GUEST[:rw]",
        help="Give the job a copy of this directory; with rw it may change its copy.",
    ),
    click.option(
        "--tree",
        "archives",
        multiple=True,
        metavar="FILE[:GUEST[:rw]]",
        help="Give the job what is in this .tar or .zip: at GUEST, read-only without rw; the default is its root.",
    ),
    _OUT,
    click.option(
        "--links",
        type=click.Choice(("refuse", "follow")),
        default="refuse",
        help="What to do about symbolic links in a --dir: refuse them, or take what they lead to.",
    ),
    _LIMIT,
)
