"""What plugins implement: one abstract class a kind.

A component is an attrs class. Its fields are its configuration table, so that a typo in the table is an error
that names it. Hooks register the classes (`plasm_core.hookspecs`); these classes do the work.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import trio

from plasm_core.errors import PluginMissingError
from plasm_core.records.claim import Claim
from plasm_core.records.manifest import Manifest
from plasm_core.records.peer import PeerId
from plasm_core.records.plan import Plan
from plasm_core.records.reachability import Reachability
from plasm_core.records.verdict import Decision, Opinion


class Component(ABC):
    """What every plugin's class says of itself."""

    kind: ClassVar[str]
    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    """Import names of the libraries it needs."""
    install: ClassVar[str | None] = None
    """The command that installs them."""

    def check(self) -> None:
        """Raise `PluginMissingError` if what the component needs is not there."""
        for library in self.requires:
            if not _is_installed(library):
                raise PluginMissingError(
                    f"the {self.kind} {self.name} needs the library {library}, which is not installed",
                    hint=f"install it with: {self.install}" if self.install else None,
                )


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


class WorkerComponent(Component):
    """A component whose work is done in a child process, never in the process that holds a key."""

    entry: ClassVar[str]
    """`package.module:Class`, imported in the child, called with `options()` as keywords."""
    threads: ClassVar[bool] = False
    """Whether compiling starts threads, which its sandbox must then allow."""

    def options(self) -> dict[str, object]:
        """Return the keywords for the class in the child: JSON values."""
        return {}

    def python(self) -> str:
        """Return the interpreter its child processes run under."""
        return sys.executable

    @abstractmethod
    def version(self) -> str:
        """Return the version of the engine or library, as receipts and cache keys name it."""


class Validator(WorkerComponent):
    """Decides whether bytes are a valid WebAssembly module of the accepted features.

    `entry` names a class with a method `validate(module: bytes)`, which raises ValueError if they are not.
    """

    kind: ClassVar[str] = "validator"


class Runtime(WorkerComponent):
    """Runs modules. `entry` names a `plasm_core.engine.Engine`."""

    kind: ClassVar[str] = "runtime"
    features: ClassVar[frozenset[str]]
    """The features (docs/determinism.md) that it runs to the letter of the contract."""
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
    forks: ClassVar[bool] = True
    """Whether a process that has loaded a module can fork workers. If not, each job's worker loads it anew."""

    def serves_strangers(self) -> bool:
        """Return whether a daemon may run strangers' jobs on it."""
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
        """Make the key and return where it is. Raises: `KeyFileError` if there is one."""

    @abstractmethod
    def existing_peer_id(self) -> PeerId | None:
        """Return the identity of the key if there is one, making none."""


class Verifier(Component):
    """Judges what nodes claim."""

    kind: ClassVar[str] = "verifier"
    establishes: ClassVar[tuple[str, ...]] = ()
    """The words that its acceptances may establish, as far as they are known before: `audit` is required by name."""

    def plan(self, manifest: Manifest) -> Plan:
        """Say how many executions of a job it needs, and how diverse: one, unless overridden.

        It is asked before the job is sent. `judge` may all the same be shown fewer: nodes fail.
        """
        return Plan()

    @abstractmethod
    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept, reject or leave undecided, with reasons and what was established.

        The claims are all those of one task, each from one execution; whoever asks has made sure of that.
        An exception counts as undecided: a verifier that fails never accepts.
        """

    def accept(self, *established: str, reasons: Sequence[str] = ()) -> Opinion:
        """Return the opinion that the claims hold.

        What is `established` is one word each, `reasons` say more.
        """
        return self._opinion(Decision.ACCEPT, reasons, established)

    def reject(self, *reasons: str) -> Opinion:
        """Return the opinion that a claim is false."""
        return self._opinion(Decision.REJECT, reasons)

    def undecided(self, *reasons: str) -> Opinion:
        """Return the opinion that nothing can be said of the claims."""
        return self._opinion(Decision.UNDECIDED, reasons)

    def _opinion(
        self, decision: Decision, reasons: Sequence[str], established: tuple[str, ...] = ()
    ) -> Opinion:
        return Opinion(verifier=self.name, decision=decision, reasons=tuple(reasons), established=established)


class Stream(ABC):
    """Bytes to and from one peer, in order. It knows nothing of jobs.

    As with trio's streams, one task sends and one receives at a time, a wait can be cancelled, and what the
    other side ends or breaks raises `StreamError`. A stream left by cancellation is broken, not ended.
    """

    @property
    @abstractmethod
    def remote_peer(self) -> PeerId | None:
        """The identity that the other side proved. None where the carrier proves none, as a local socket."""

    @property
    @abstractmethod
    def remote_group(self) -> str:
        """Whom quotas and fairness count together, such as a user or a prefix of addresses.

        Opaque: it must not tell where a client is. Named under the key in `paths.owners_key()`, it is the same after a
        restart, and so are fairness and shares.
        """

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Send bytes, waiting while the other side is slow to take them. Raises: `StreamError`."""

    @abstractmethod
    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        """Return at least one byte, or none at the end of the stream. Raises: `StreamError`."""

    async def pause(self) -> None:
        """Let others have their turn before more of what was received at once is worked off.

        Whoever takes many messages out of one `receive_some` calls it between them. By default it gives way once;
        a transport that shares the loop's time between its peers waits for this peer's turn.
        """
        await trio.lowlevel.checkpoint()

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream: what was sent arrives. Never raises `StreamError`."""


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Serves one stream to its end. What it raises breaks that stream and nothing else."""


class Network(ABC):
    """A transport that is open."""

    @property
    @abstractmethod
    def addresses(self) -> tuple[str, ...]:
        """Where others reach this node now, as `dial` takes them."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What it has counted since it was opened, by series (`plasm_core.counters`), nothing by default."""
        return {}

    @abstractmethod
    async def dial(self, address: str, protocol: str) -> Stream:
        """Open a stream of a protocol. The caller sets the deadline.

        An address that names a peer is dialled only if that peer proves its identity.

        Raises: `PeerUnreachableError`.
        """


class Transport(Component):
    """Carries byte streams between nodes, or between a node and its clients."""

    kind: ClassVar[str] = "transport"

    @abstractmethod
    def open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AbstractAsyncContextManager[Network]:
        """Listen for the protocols in `handlers`, for none if it is empty, until the context ends.

        `identity` signs handshakes and names this side; None stands for a fresh key, known to nobody.
        The context ends the streams that are open. Raises: `TransportError` if it cannot listen.
        """


class Directory(ABC):
    """Discovery that is open. What it tells is hearsay until the peer itself has proved it."""

    @property
    @abstractmethod
    def neighbours(self) -> tuple[PeerId, ...]:
        """The peers that it asks, none while it is alone."""

    @property
    def reachability(self) -> Reachability:
        """What is known of whether others reach this node, nothing by default."""
        return Reachability()

    @property
    def metrics(self) -> Mapping[str, float]:
        """What it has counted since it was opened, by series (`plasm_core.counters`), nothing by default."""
        return {}

    @abstractmethod
    async def bootstrap(self) -> int:
        """Look for neighbours, starting from those configured and remembered; return how many there are.

        It is done when the directory opens, too, and again from time to time.
        """

    @abstractmethod
    def announce(self, addresses: Sequence[str]) -> None:
        """Say where others reach this node from now on; at first, that is where its network listens.

        With none, it asks others and answers nobody.
        """

    @abstractmethod
    def advertise(self, classes: Collection[str]) -> None:
        """Say from now on that this node serves these capability classes, instead of those before.

        It says so again before it is forgotten, until the directory closes.
        """

    def permit(self, addresses: Sequence[str]) -> None:  # noqa: B027 - a directory may have no such rule
        """Note addresses that the user has named: what is told of nodes in the same private ranges may be dialled."""

    @abstractmethod
    async def locate(self, peer: PeerId) -> tuple[str, ...]:
        """Look for a peer's addresses, as `dial` takes them; none if nobody knows any."""

    @abstractmethod
    def find(
        self, capability: str, limit: int
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        """Look for nodes that say they serve a capability class, with addresses as `dial` takes them.

        They come as they are found, `limit` nodes at most; leaving the context ends the search. A node comes again,
        with all its addresses, when others tell more of them: some may be false.
        """


class Discovery(Component):
    """Finds nodes by what they can do."""

    kind: ClassVar[str] = "discovery"

    @abstractmethod
    def open(self, network: Network) -> AbstractAsyncContextManager[Directory]:
        """Take part in the directory over an open network, until the context ends.

        Raises: `TransportError` if the network is not of the kind that it needs.
        """


KINDS: dict[str, type[Component]] = {
    cls.kind: cls for cls in (Validator, Runtime, Signer, Verifier, Transport, Discovery)
}
"""Every kind of plugin and its abstract class."""
