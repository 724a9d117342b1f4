"""The interfaces of plugins: one abstract class for each kind.

A component is an attrs class whose fields are its configuration table, so that an unknown key is an error that names
it. Hooks register the classes (`plasm_core.plugins.hookspecs`); these classes do the work.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import attrs

from plasm_core.plugins.component import Component
from plasm_core.records.claim import Claim
from plasm_core.records.history import NodeHistory
from plasm_core.records.manifest import Manifest
from plasm_core.records.peer import PeerId
from plasm_core.records.plan import ONE_EXECUTION, Plan
from plasm_core.records.reachability import Reachability
from plasm_core.records.verdict import Decision, Opinion, Verdict


class WorkerComponent(Component):
    """A component that works in a child process, never in the process that holds a key."""

    entry: ClassVar[str]
    """`package.module:Class`, imported in the child, called with `options()` as keywords."""
    threads: ClassVar[bool] = False
    """Whether compiling starts threads, which its sandbox must then allow."""
    reserved_bytes: ClassVar[int] = 0
    """Private memory that it reserves at its start and does not fill: the limit for compiling is so much higher."""

    def options(self) -> dict[str, object]:
        """Return the keyword arguments for the class in the child, as JSON values."""
        return {}

    def python(self) -> str:
        """Return the path of the Python interpreter for its child processes."""
        return sys.executable

    @abstractmethod
    def version(self) -> str:
        """Return the version of the engine or library, for receipts and cache keys."""


class Validator(WorkerComponent):
    """Decides whether bytes are a valid WebAssembly module of the accepted features.

    `entry` names a class with a method `validate(module: bytes)`, which raises ValueError if they are not. With a
    method `instantiate(module: bytes) -> Instance`, for a module of Plasm's own that imports nothing, large modules are
    metered ten times as fast.
    """

    kind: ClassVar[str] = "validator"


class Runtime(WorkerComponent):
    """Runs modules. `entry` names a `plasm_core.plugins.engine.Engine`."""

    kind: ClassVar[str] = "runtime"
    features: ClassVar[frozenset[str]]
    """The features (docs/determinism.md) that it runs to the letter of the contract."""
    lowered: ClassVar[frozenset[str]] = frozenset()
    """Those of `features` that the engine itself lacks: the metered module is rewritten to do without them.

    Of `bulk-memory`, `extended-const`, `f32-bits`, `multi-value` and `partial-table`.
    """
    jobs_per_worker: ClassVar[int] = 1_000_000
    """How many jobs one worker may serve under isolation `shared`: few, if the engine leaks."""
    canonical_nans: ClassVar[bool] = True
    """Whether it makes NaNs canonical by itself. For one that does not, the module is rewritten to."""
    explains_traps: ClassVar[bool] = True
    """Whether its traps tell a null from a wrong type in indirect calls, and a NaN from an overflow in conversions.

    For one whose traps do not, the module is rewritten to check first.
    """
    strangers_hint: ClassVar[str | None] = None
    """Where its worker lacks a layer of the sandbox: the setting by which an operator runs strangers' jobs on it."""
    compiles_ahead: ClassVar[bool] = False
    """Whether it compiles a whole module before its first run, which takes seconds for a large one."""
    forks: ClassVar[bool] = True
    """Whether a process that has loaded a module can fork workers. If not, each job's worker loads the module itself."""

    def quick(self) -> Runtime | None:
        """Return this engine with a compiler that is faster and makes slower code, for first runs. None if it has none.

        It has the same name, and a version that tells them apart in receipts.
        """
        return None

    def serves_strangers(self) -> bool:
        """Return whether a daemon may run strangers' jobs on this runtime."""
        return True


class Signer(Component):
    """Signs receipts with one key."""

    kind: ClassVar[str] = "signer"

    @property
    @abstractmethod
    def peer_id(self) -> PeerId:
        """The identity of the key."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message: 64 bytes."""

    @abstractmethod
    def create_key(self) -> str:
        """Create the key, and return its place, such as a file name. Raises: `KeyFileError` if it exists."""

    @abstractmethod
    def existing_peer_id(self) -> PeerId | None:
        """Return the identity of the key, None if there is no key. Creates none."""


class Verifier(Component):
    """Judges receipts: accepts, rejects, or leaves undecided."""

    kind: ClassVar[str] = "verifier"
    establishes: ClassVar[tuple[str, ...]] = ()
    """The words that its acceptances may establish, as far as they are known before: `audit` is required by name."""
    is_quick: ClassVar[bool] = False
    """Whether `judge` takes less than a millisecond and waits for nothing: a client then calls it in its event loop."""
    keeps_inputs: ClassVar[bool] = False
    """Whether the client keeps a job's module and input, within bounds, so that its result can be checked later."""

    def plan(self, manifest: Manifest) -> Plan:
        """Return how many executions of a job the verifier needs, and on how many nodes and runtimes.

        The default is one.

        It is called before the job is sent. `judge` may get fewer claims than planned, because nodes fail.
        """
        return ONE_EXECUTION

    def plan_among(self, manifest: Manifest, candidates: Sequence[NodeHistory]) -> Plan:
        """Return the plan for a job that any of these nodes may get, the likeliest first.

        The client calls this method. `candidates`: the history of each known node that takes the job; empty if the
        client knows no node yet, or keeps no records. The default is `plan`.
        """
        return self.plan(manifest)

    @abstractmethod
    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept, reject or leave undecided, with reasons and the established facts.

        All claims are about one task, each from one execution; the caller has checked that. An exception counts as
        undecided, never as accepted.

        An undecided opinion may ask for `more` executions. If every undecided verifier asks for some, the client has
        other nodes run the job, 64 at most in all, and asks all verifiers again with all claims. A rejection may name
        the nodes whose claims are `false`: the client then drops these claims, and asks all verifiers again.
        """

    def settled(self, claims: Sequence[Claim], verdict: Verdict) -> None:
        """Take note of the verdict of all verifiers on claims that this verifier judged.

        The client calls it once for each job, after the last judgement, in a thread. An exception is logged.
        """

    def accept(
        self,
        *established: str,
        reasons: Sequence[str] = (),
        checked: Sequence[PeerId] = (),
        check_within_s: int = 0,
        error: float | None = None,
    ) -> Opinion:
        """Return the opinion that the claims hold.

        `established`: one word for each fact. `reasons`: sentences about them. `checked`: the nodes whose claims an
        independent execution has confirmed; it improves their histories. `check_within_s`: have another node check
        the result at a random time within so many seconds. `error`: the estimated probability that the result is
        wrong.
        """
        opinion = self._opinion(Decision.ACCEPT, reasons, established)
        return attrs.evolve(opinion, checked=tuple(checked), check_within_s=check_within_s, error=error)

    def reject(self, *reasons: str, false: Sequence[PeerId] = ()) -> Opinion:
        """Return the opinion that a claim is false. `false`: the nodes whose claims are false, if known."""
        return attrs.evolve(self._opinion(Decision.REJECT, reasons), false=tuple(false))

    def undecided(self, *reasons: str, more: int = 0) -> Opinion:
        """Return the opinion that this verifier cannot decide, with its reasons.

        `more`: how many more executions may decide it.
        """
        return attrs.evolve(self._opinion(Decision.UNDECIDED, reasons), more=more)

    def _opinion(
        self, decision: Decision, reasons: Sequence[str], established: tuple[str, ...] = ()
    ) -> Opinion:
        return Opinion(verifier=self.name, decision=decision, reasons=tuple(reasons), established=established)


class Stream(ABC):
    """A byte stream to and from one peer, in order. It knows nothing of jobs.

    As with trio's streams, one task sends and one receives at a time, waits can be cancelled, and an end or failure
    of the other side raises `StreamError`. After a cancelled wait the stream is broken.
    """

    @property
    @abstractmethod
    def remote_peer(self) -> PeerId | None:
        """The identity that the peer has proved. None if the transport proves none, as a local socket."""

    @property
    @abstractmethod
    def remote_group(self) -> str:
        """The group in which quotas and fair shares count the peer, such as a user or a prefix of addresses.

        An opaque name that does not reveal the peer's address. It is keyed with the key in `paths.owners_key()`, so
        that it stays the same after a restart.
        """

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Send bytes, waiting while the other side is slow to take them. Raises: `StreamError`."""

    @property
    def passes_descriptors(self) -> bool:
        """Whether `send_with` and `take_descriptor` work: both sides are processes of one machine."""
        return False

    async def send_with(self, data: bytes, fd: int) -> None:
        """Send bytes with a copy of a descriptor, which the other side has before the last of them.

        Raises: `StreamError`.
        """
        raise NotImplementedError

    def accept_descriptors(self, accept: bool) -> None:  # noqa: B027 - most streams pass none
        """Begin or cease to take descriptors that come with what is received: until then they are closed."""

    def take_descriptor(self) -> int | None:
        """Return the descriptor that came with what was received, if one did. The caller closes it."""
        return None

    @abstractmethod
    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        """Return at least one byte, or none at the end of the stream. Raises: `StreamError`."""

    def is_silent(self) -> bool:
        """Return whether all that the other side has sent was received, and it has not ended the stream.

        Called between two conversations on one stream. The default is False: each stream then carries one conversation.
        """
        return False

    async def pause(self) -> None:
        """Let other tasks run before more of the received data is processed.

        The reader calls it between messages that it takes out of one `receive_some`. The default yields to the
        event loop once. A transport that shares the loop's time among its peers waits for the peer's turn.
        """
        import trio  # only here: a run on this machine needs no event loop, and a fifth of its processor time went into this

        await trio.lowlevel.checkpoint()

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream; bytes that were sent still arrive. Never raises `StreamError`."""


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Serves one stream to its end. What it raises breaks that stream and nothing else."""


class Network(ABC):
    """An open transport."""

    @property
    @abstractmethod
    def addresses(self) -> tuple[str, ...]:
        """The addresses at which others can reach this node now, in the form that `dial` takes."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Counters since the transport was opened, by series (`plasm_core.metrics`). Empty by default."""
        return {}

    @abstractmethod
    async def dial(self, address: str, protocol: str) -> Stream:
        """Open a stream for a protocol. The caller sets the deadline.

        If the address names a peer, the stream opens only if that peer proves its identity.

        Raises: `PeerUnreachableError`.
        """


class Transport(Component):
    """Carries byte streams between nodes, or between a node and its clients."""

    kind: ClassVar[str] = "transport"

    @abstractmethod
    def open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AbstractAsyncContextManager[Network]:
        """Listen until the context ends, and serve the protocols in `handlers`. Without handlers, only dial.

        `identity` signs handshakes and identifies this side; None means a fresh key. When the context ends, open
        streams are closed. Raises: `TransportError` if it cannot listen.
        """

    def try_listening(self) -> None:
        """Find out whether `open` could listen now, and leave nothing behind: `plasmd --check` calls it.

        Raises: `TransportError` if it could not.
        """


class Directory(ABC):
    """An open discovery. Its statements about a peer are hearsay until the peer has proved them."""

    @property
    @abstractmethod
    def neighbours(self) -> tuple[PeerId, ...]:
        """The peers that it queries; none if it knows no other peer."""

    @property
    def reachability(self) -> Reachability:
        """This node's reachability as it knows it; unknown by default."""
        return Reachability()

    @property
    def metrics(self) -> Mapping[str, float]:
        """Counters since the directory was opened, by series (`plasm_core.metrics`). Empty by default."""
        return {}

    @property
    def bootstrap_nodes(self) -> Sequence[tuple[PeerId, tuple[str, ...]]]:
        """The nodes that the user named to begin at, with addresses as `dial` takes them, nothing by default."""
        return ()

    @abstractmethod
    async def bootstrap(self) -> int:
        """Search for neighbours, from the configured and the cached peers; return how many it has.

        The directory also does this when it opens, and from time to time.
        """

    @abstractmethod
    def announce(self, addresses: Sequence[str]) -> None:
        """Set the addresses at which others can reach this node.

        The initial value is the network's listening addresses.

        Without addresses, it queries others and answers no queries.
        """

    @abstractmethod
    def advertise(self, classes: Collection[str]) -> None:
        """List this node under these node classes from now on, in place of earlier ones.

        The listing is renewed before it expires, until the directory closes.
        """

    def permit(self, addresses: Sequence[str]) -> None:  # noqa: B027 - a directory may have no such rule
        """Add addresses that the user has named: hearsay addresses in the same private ranges may then be dialled."""

    @abstractmethod
    async def locate(self, peer: PeerId) -> tuple[str, ...]:
        """Search for a peer's addresses, in the form that `dial` takes; empty if no peer knows any."""

    @abstractmethod
    def find(
        self, node_class: str, limit: int
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        """Search for nodes that list themselves under a node class, with addresses in the form that `dial` takes.

        Yields nodes as they are found, at most `limit`; leaving the context ends the search. A node is yielded again,
        with all its addresses, when other peers report further addresses, which may be false.
        """


class Discovery(Component):
    """Finds nodes by node class."""

    kind: ClassVar[str] = "discovery"
    transports: ClassVar[tuple[str, ...]] = ()
    """Names of the transports whose networks it can use; empty for all."""

    @abstractmethod
    def open(self, network: Network) -> AbstractAsyncContextManager[Directory]:
        """Take part in the directory over an open network, until the context ends.

        Raises: `TransportError` if the discovery does not support the network.
        """


KINDS: dict[str, type[Component]] = {
    cls.kind: cls for cls in (Validator, Runtime, Signer, Verifier, Transport, Discovery)
}
"""Every kind of plugin and its abstract class."""
