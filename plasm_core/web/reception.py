"""The bound on bodies that are received concurrently, and the modules and trees of files that forms send or name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial

import attrs
import trio

from plasm_core.client.upload import Pack
from plasm_core.web.bearer_tokens import BearerToken
from plasm_core.web.forms import FileField, Form
from plasm_core.web.job_trees import FILES, JobTree, has_tree, tree_of
from plasm_core.web.problems import ApiProblem, invalid
from plasm_core.web.token_shares import TokenShares
from plasm_core.web.upload_room import UploadPlace, UploadRoom
from plasm_core.web.uploads import StoredFile
from plasm_core.web.web_jobs import WebJobs

MAX_UPLOADS = 64
MAX_PARSED = 2
DIGEST = re.compile(r"[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Reception:
    """Gives a place to each body, and finds modules. All routes that take bodies share one."""

    jobs: WebJobs
    uploads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(MAX_UPLOADS))
    """A place for each body that is being received: each takes memory and disk."""
    shares: TokenShares = attrs.field(factory=lambda: TokenShares(MAX_UPLOADS))
    room: UploadRoom = attrs.field(factory=UploadRoom)
    """Room for the files of jobs, which all bodies share."""
    parsed: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(MAX_PARSED))
    """A place for each description that is being parsed, and each tree of files that is being packed: 8 MiB of JSON may
    be millions of objects."""

    @contextmanager
    def place(self, token: BearerToken) -> Iterator[None]:
        """Take a place while the context is open. Raises: `ApiProblem`."""
        place = object()
        try:
            self.uploads.acquire_on_behalf_of_nowait(place)
        except trio.WouldBlock:
            raise ApiProblem(
                429, "too_many_uploads", "this server receives many bodies already", retry_after_s=1
            ) from None
        try:
            with self.shares.place(token):
                yield
        finally:
            self.uploads.release_on_behalf_of(place)

    async def module(self, stack: AsyncExitStack, token: BearerToken, form: Form) -> StoredFile:
        """Return the module of a form, sent or named; it is open as long as `stack`. Raises: `ApiProblem`."""
        sent, named = form.files.get("module"), form.one("moduleDigest")
        if sent is not None and named is None:
            await self.jobs.keep_module(token, sent)
            return sent
        if sent is not None or named is None:
            raise invalid("module", "send either the module's bytes, or moduleDigest")
        if not DIGEST.fullmatch(named.decode("ascii", "replace")):
            raise invalid("moduleDigest", "expected 64 hexadecimal digits")
        found = await self.jobs.module(token, named.decode())
        stack.callback(found.close)
        return found

    async def tree(
        self, stack: AsyncExitStack, token: BearerToken, form: Form, place: UploadPlace
    ) -> JobTree | None:
        """Return the files of a form's job; None if it has none. They are open as long as `stack`.

        Raises: `ApiProblem`, `InvalidRecordError`, `StorageError`.
        """
        if not has_tree(form):
            return None
        open_tree = partial(self.jobs.open_tree, token)
        found = await trio.to_thread.run_sync(tree_of, form, place, open_tree, limiter=self.parsed)
        stack.callback(found.pack.close)
        if "treeDigest" not in form.texts:
            await self.jobs.keep_tree(token, Pack(found.pack))
        return found


def file_fields(place: UploadPlace) -> dict[str, FileField]:
    """Return the parts of a form that have the files of a job."""
    return {
        name: FileField(maximum=place.maximum, repeats=name == "file", taking=place.receive) for name in FILES
    }
