"""The client for programs that block. Its loop, plugins and connections stay open between calls."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

import attrs

from plasm_core.client.arguments import AHEAD, check_callbacks, handle_of
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.opening import open_client
from plasm_core.client.output import Live, Sink
from plasm_core.client.portal import Portal
from plasm_core.client.remote_files import LeftEntry
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Content, JobInputs, Submission, Terms
from plasm_core.client.submitted_job import Sent, SentJobs
from plasm_core.client.watcher import Watcher, silent
from plasm_core.config import Config
from plasm_core.errors import PlasmError
from plasm_core.protocol import ANY_NODE
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from plasm_core.client.known_nodes import Candidate

T = TypeVar("T")


class Client:
    """Runs jobs on the daemon of this machine, or on nodes found over a network (`bootstrap=`, `peer=`).

        from plasm_core import Client

        with Client() as client:
            result = client.run("examples/hello/hello.wasm", stdin=b"Hello, world")
        print(result, result.verdict)

    Store the handle that `submit` returns as text (`str(handle)`): any process can fetch the result with it.
    Threads may share a client. Keep one client for many calls: it keeps its plugins and connections open until
    `close`, the end of a `with` block, or the end of the process. For the errors and for `timeout_s` see
    `AsyncClient`.
    """

    def __init__(
        self,
        config: Config | str | os.PathLike[str] | None = None,
        *,
        transport: str | None = None,
        peer: str | None = None,
        bootstrap: str | Sequence[str] = (),
        verifier: str | Sequence[str] = (),
        node_class: str = ANY_NODE,
        gateway: bool = False,
        require: str | None = None,
        reuse: bool | None = None,
        capability: None = None,
    ) -> None:
        """See `open_client` for the parameters. Nothing is opened before the first call.

        For example:

            from plasm_core import Client

            client = Client(bootstrap="/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…", require="reexecution")

        Raises: TypeError on `capability`, the old name of `node_class`.
        """
        if capability is not None:
            raise TypeError("capability is called node_class now")
        self._portal = Portal(
            functools.partial(
                open_client,
                config,
                transport=transport,
                peer=peer,
                bootstrap=bootstrap,
                verifier=verifier,
                node_class=node_class,
                gateway=gateway,
                require=require,
                reuse=reuse,
                sent=SentJobs(),
            )
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections, and end calls that other threads make. A call after it opens them again.

        For example:

            from plasm_core import Client

            client = Client()
            print(client.run("examples/hello/hello.wasm").verdict)
            client.close()
        """
        self._portal.close()

    def submit(
        self,
        module: Content | Submission,
        *,
        timeout_s: float | None = 120,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        **terms: Unpack[Terms],
    ) -> Handle:
        """Submit a job: a module with its `Terms`, or a submission, which is then closed.

        `placed` is called with the handle as soon as a node has accepted the job: a handle stored there survives an
        interrupt. Later errors have the handle as their attribute `handle`.

        Raises: TypeError, ValueError and OSError, as `Submission.of`.

            from plasm_core import Client

            handle = Client().submit("examples/hello/hello.wasm", args=["some", "words"], wall_time_s=30)
            print(handle)  # store it: it opens the output, so treat it like a password
        """
        with _submission(module, terms) as job:
            return self._do(
                lambda client: client.submit(job, timeout_s=timeout_s, watch=watch, placed=placed)
            )

    def run(
        self,
        module: Content | Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        **terms: Unpack[Terms],
    ) -> JobResult:
        """Submit a job, as `submit` does, and wait for its verified result.

        `timeout_s`: None is the job's wall time and an hour, `float("inf")` is no limit. A job that fails has a
        result too: `JobResult.ok`, `JobResult.check`.

            from plasm_core import Client

            result = Client().run("examples/hello/hello.wasm", stdin=b"Hello, world").check()
            print(result.stdout, result.receipt.result.gas_used)
        """
        with _submission(module, terms) as job:
            return self._do(
                lambda client: client.run(job, sink=sink, timeout_s=timeout_s, watch=watch, placed=placed)
            )

    def map(
        self,
        module: Content,
        inputs: JobInputs,
        *,
        ordered: bool = True,
        errors: bool = False,
        in_flight: int | None = None,
        ahead: int = AHEAD,
        timeout_s: float | None = None,
        **terms: Unpack[Terms],
    ) -> Iterator[JobResult | PlasmError]:
        """Run a module once for each input, and yield the results: in the order of the inputs, or as they arrive if
        `ordered` is false.

            from plasm_core import Client

            inputs = ({"args": ["number", str(number)]} for number in range(5))
            for result in Client().map("examples/hello/hello.wasm", inputs):
                print(result)

        An input is a mapping of terms, which are added to `terms`, or a value for `stdin`. Inputs are read when nodes
        have room, at most `ahead` jobs beyond the result that the caller waits for. `in_flight`: the most jobs at
        once; None is as many as the nodes accept. A job that failed has a result too: see `JobResult.ok`. If a job
        has no result, its error is raised, or yielded if `errors` is true. Closing the iterator cancels the jobs that
        have not ended.
        """

        def opened(client: AsyncClient) -> AbstractAsyncContextManager[AsyncIterator[JobResult | PlasmError]]:
            return client.map(
                module,
                inputs,
                ordered=ordered,
                in_flight=in_flight,
                ahead=ahead,
                timeout_s=timeout_s,
                **terms,
            )

        for found in self._portal.iterate(opened):
            if isinstance(found, PlasmError) and not errors:
                raise found
            yield found

    def result(
        self,
        handle: Handle | str,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
        files: bool = True,
    ) -> JobResult:
        """Wait for a job's verified result. `sent`, `files`: see `AsyncClient.result`.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            result = client.result(str(handle), timeout_s=60)
            print(result, result.outcome)
        """
        held = handle_of(handle)
        return self._do(
            lambda client: client.result(
                held, sink=sink, timeout_s=timeout_s, watch=watch, sent=sent, files=files
            )
        )

    def list_files(
        self, handle: Handle | str, *, timeout_s: float | None = None, sent: Sent | None = None
    ) -> list[LeftEntry]:
        """Return the files and directories that a job left, compared with its receipt, without their bytes.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("plasm_core/testing/modules/files.wasm", files={"in/data": b"some"}, outputs=["out/"])
            for entry in client.list_files(handle):
                print(entry.path, entry.size_bytes)
        """
        held = handle_of(handle)
        return self._do(lambda client: client.list_files(held, timeout_s=timeout_s, sent=sent))

    def read_file(
        self,
        handle: Handle | str,
        entry: LeftEntry,
        take: Callable[[bytes], object],
        *,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
    ) -> None:
        """Fetch a file that `list_files` returned, compare it with its digest, and pass its bytes to `take`.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("plasm_core/testing/modules/files.wasm", files={"in/data": b"some"}, outputs=["out/"])
            for entry in client.list_files(handle):
                if entry.kind == "file":
                    client.read_file(handle, entry, print)
        """
        held = handle_of(handle)
        self._do(
            lambda client: client.read_file(held, entry, take, timeout_s=timeout_s, watch=watch, sent=sent)
        )

    def logs(
        self,
        handle: Handle | str,
        show: Callable[[str, bytes], None],
        *,
        again: Callable[[str], None] = lambda _where: None,
        timeout_s: float | None = None,
        sent: Sent | None = None,
    ) -> JobResult:
        """Pass a job's output to `show` as it arrives, with "stdout" or "stderr", and return the job's result.

        The output is not verified before this returns. If another attempt at the job writes different output,
        `again` is called with "stdout" or "stderr", and that output follows from its beginning.

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            result = client.logs(handle, lambda where, data: print(where, data))
            print(result.verdict)
        """
        check_callbacks(show=show, again=again)
        sink = Live(lambda where, data: show(where.label, data), lambda where: again(where.label))
        return self.result(handle, sink=sink, timeout_s=timeout_s, sent=sent)

    def peek(
        self, handle: Handle | str, sink: Sink, *, timeout_s: float | None = 30, sent: Sent | None = None
    ) -> Status:
        """Copy a job's output so far to the sink, and return the job's status. The output is not verified.

        For example:

            from plasm_core import Client
            from plasm_core.client.output import Live

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            client.peek(handle, Live(lambda where, data: print(where.label, data)))
        """
        held = handle_of(handle)
        return self._do(lambda client: client.peek(held, sink, timeout_s=timeout_s, sent=sent))

    def wait(
        self, handle: Handle | str, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, and return its status. `watch` is called with each new state.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            print(client.wait(handle, timeout_s=60).state)
        """
        held = handle_of(handle)
        return self._do(lambda client: client.wait(held, timeout_s=timeout_s, watch=watch))

    def status(self, handle: Handle | str, *, timeout_s: float | None = 30) -> Status:
        """Return a job's status: its state, attempt, position in the queue and output sizes.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            status = client.status(handle)
            print(status.state, status.stdout_bytes)
        """
        held = handle_of(handle)
        return self._do(lambda client: client.status(held, timeout_s=timeout_s))

    def statuses(
        self, handles: Sequence[Handle | str], *, timeout_s: float = 30
    ) -> list[Status | PlasmError]:
        """Return the status of each job, or the error that prevented it, in the order of the handles.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            for found in client.statuses([handle]):
                print(found if isinstance(found, Exception) else found.state)
        """
        held = [handle_of(handle) for handle in handles]
        return self._do(lambda client: client.statuses(held, timeout_s=timeout_s))

    def cancel(self, handle: Handle | str, *, timeout_s: float | None = 60) -> Status:
        """Cancel a job, and return its status when it has ended.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            print(client.cancel(handle).state)  # CANCELED, or as it had ended before
        """
        held = handle_of(handle)
        return self._do(lambda client: client.cancel(held, timeout_s=timeout_s))

    def release(self, handle: Handle | str, *, timeout_s: float | None = 30) -> Status:
        """Let the node delete an ended job's inputs and outputs. Return the job's status.

        For example:

            from plasm_core import Client

            client = Client()
            handle = client.submit("examples/hello/hello.wasm", stdin=b"Hello, world")
            client.result(handle)
            client.release(handle)
        """
        held = handle_of(handle)
        return self._do(lambda client: client.release(held, timeout_s=timeout_s))

    def peers(self, *, settle_s: float = 3.0) -> list[Candidate]:
        """Return the nodes of the network's directory that answer, the best first, each with its capability record.

        `settle_s`: seconds to wait for more after the first.

            from plasm_core import Client

            for node in Client(bootstrap="/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…").peers():
                print(node.peer, node.record.architecture, node.latency_s)
        """

        from plasm_core.client.node_choice import RemoteDialler

        async def look(client: AsyncClient) -> list[Candidate]:
            dialler = client.dialler
            if not isinstance(dialler, RemoteDialler):
                return []
            found = await dialler.search.candidates(enough=10_000, settle_s=settle_s, convicted=True)
            known = [attrs.evolve(item, history=dialler.reputation.history(item.peer)) for item in found]
            return sorted(known, key=lambda item: item.history is not None and item.history.is_convicted)

        return self._do(look)

    def do(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Run an asynchronous function with the underlying `AsyncClient`, in its loop, and return the result.

        For example:

            from plasm_core import Client, Submission

            job = Submission.of("examples/hello/hello.wasm", args=["some", "words"])
            result = Client().do(lambda client: client.run(job, timeout_s=60))
            print(result.stdout)
        """
        return self._do(work)

    def _do(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        return self._portal.call(work)


def _submission(module: Content | Submission, terms: Terms) -> Submission:
    if not isinstance(module, Submission):
        return Submission.of(module, **terms)
    if terms:
        raise TypeError(f"a submission has its terms by now: {', '.join(terms)}")
    return module
