"""The messages of the job protocol (docs/protocol.md), each a record."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import attrs

from plasm_core.errors import InvalidRecordError, ProtocolError
from plasm_core.protocol.channels import UPLOADS, Channel
from plasm_core.records.converter import parse_json, structure, unstructure
from plasm_core.records.fields import (
    boolean,
    constrained,
    digest,
    integer,
    lower_hex,
    member_of,
    names,
    one_of,
    text,
    timestamp,
)
from plasm_core.records.files import guest_path
from plasm_core.records.job import JobState
from plasm_core.records.outcome import CLAIMED, RECHECKABLE, optional
from plasm_core.records.output import OutputStream
from plasm_core.records.peer import peer_name

MAX_CONTROL_BYTES = 131_072
MAX_VALUES = 1000
"""So many commas and opening brackets a message may have outside its strings: the event loop parses it in one go."""

_WORDS = r"[^\x00-\x1f\x7f]*"
_NAME = r"[a-z][a-z0-9_]*"


def _words(maximum: int = 2000) -> Any:
    return text(pattern=_WORDS, maximum=maximum)


@attrs.frozen(kw_only=True)
class Message:
    """A control message. `type` is its name on the wire."""

    type: ClassVar[str]
    json_open: ClassVar[bool] = True
    """Fields that are not known are ignored."""


class _PerChannel:
    """A number of bytes for each of some channels."""

    __slots__ = ()

    def of(self, channel: Channel) -> int:
        """Return the number of one channel, 0 if none is given."""
        found: int | None = getattr(self, channel.label)
        return found or 0


@attrs.frozen(kw_only=True)
class Uploads(_PerChannel):
    """A number of bytes for each channel of the client. `files` is None for a job without files."""

    json_open: ClassVar[bool] = True

    module: int = constrained(integer(0))
    args: int = constrained(integer(0))
    env: int = constrained(integer(0))
    stdin: int = constrained(integer(0))
    files: int | None = constrained(optional(integer(0)), default=None)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that the client sends."""
        return UPLOADS if self.files is None else (*UPLOADS, Channel.FILES)

    @property
    def total(self) -> int:
        """The bytes of all channels together."""
        return sum(self.of(channel) for channel in self.channels)


@attrs.frozen(kw_only=True)
class Outputs(_PerChannel):
    """A number of bytes for each channel of the node."""

    json_open: ClassVar[bool] = True

    stdout: int = constrained(integer(0))
    stderr: int = constrained(integer(0))


NOTHING = Outputs(stdout=0, stderr=0)


@attrs.frozen(kw_only=True)
class Status:
    """A job's state, attempt, outcome, position in the queue and output sizes."""

    json_open: ClassVar[bool] = True

    state: JobState = constrained(member_of(JobState))
    attempt: int = constrained(integer(0))
    position: int | None = constrained(optional(integer(1)), default=None)
    stdout_bytes: int = constrained(integer(0))
    stderr_bytes: int = constrained(integer(0))
    accepted_at: datetime | None = constrained(optional(timestamp()), default=None)
    started_at: datetime | None = constrained(optional(timestamp()), default=None)
    finished_at: datetime | None = constrained(optional(timestamp()), default=None)
    expires_at: datetime | None = constrained(optional(timestamp()), default=None)
    outcome: str | None = constrained(optional(one_of(*RECHECKABLE, *CLAIMED)), default=None)
    node: str | None = constrained(optional(peer_name()), default=None)

    @property
    def has_ended(self) -> bool:
        """Whether the job has its result."""
        return not self.state.live

    def output_bytes(self, stream: OutputStream) -> int:
        """Return the length of an output in bytes; while the job runs, the length so far."""
        return self.stdout_bytes if stream is OutputStream.STDOUT else self.stderr_bytes


def withdraws_output(status: Status) -> bool:
    """Return whether a result withdraws the output that was sent: it has none, and its outcome is only the node's claim."""
    return status.outcome in CLAIMED and status.stdout_bytes == status.stderr_bytes == 0


@attrs.frozen(kw_only=True)
class Hello(Message):
    """The first message of a node.

    `keep_s`: for how many seconds it keeps a stream open between conversations. `features`: its optional features:
    `files`, jobs with files.
    """

    type = "hello"

    peer: str = constrained(peer_name())
    agent: str = constrained(_words(256), default="")
    keep_s: int | None = constrained(optional(integer(1)), default=None)
    features: tuple[str, ...] | None = constrained(optional(names(_NAME)), default=None)


@attrs.frozen(kw_only=True)
class Opening(Message):
    """The first message of a conversation. `keep`: the client may have another conversation on the stream."""

    keep: bool | None = constrained(optional(boolean()), default=None)


@attrs.frozen(kw_only=True)
class Submit(Opening):
    """Ask a node to run a job. `follow` False: the conversation is over when the job is accepted."""

    type = "submit"

    manifest: str = constrained(text(pattern=r"(?s:.*)", maximum=65_536))
    token: str = constrained(lower_hex(32), shown=False)
    sizes: Uploads
    credit: Outputs
    route: str = constrained(one_of("here", "network"), default="here")
    follow: bool | None = constrained(optional(boolean()), default=None)


@attrs.frozen(kw_only=True)
class Attach(Opening):
    """Follow an accepted job, from the bytes that the client has already."""

    type = "attach"

    job_id: str = constrained(digest())
    token: str = constrained(lower_hex(32), shown=False)
    credit: Outputs
    offsets: Outputs
    attempt: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class Question(Opening):
    """The common fields of `status`, `cancel` and `release`."""

    job_id: str = constrained(digest())
    token: str = constrained(lower_hex(32), shown=False)


@attrs.frozen(kw_only=True)
class AskStatus(Question):
    """Ask for a job's status."""

    type = "status"


@attrs.frozen(kw_only=True)
class Cancel(Question):
    """Cancel a job."""

    type = "cancel"


@attrs.frozen(kw_only=True)
class Release(Question):
    """Let the node delete an ended job's inputs and outputs."""

    type = "release"


@attrs.frozen(kw_only=True)
class AskCapabilities(Opening):
    """Ask for the node's capability record."""

    type = "capabilities"


@attrs.frozen(kw_only=True)
class Fetch(Opening):
    """Ask for a file or directory that an ended job left.

    `path`: one of the manifest's `outputs`. `offset`, `length`: the bytes that are wanted. `credit`: the offset up to
    which the client has room.
    """

    type = "fetch"

    job_id: str = constrained(digest())
    token: str = constrained(lower_hex(32), shown=False)
    path: str = constrained(guest_path())
    offset: int = constrained(integer(0))
    length: int = constrained(integer(0))
    credit: int = constrained(integer(0))


def _provable(label: str | None) -> Channel:
    return Channel.FILES if label == Channel.FILES.label else Channel.MODULE


@attrs.frozen(kw_only=True)
class Possession(Message):
    """Proof of having the module, or the files: the SHA-256 of the challenge followed by their bytes.

    `channel`: `module` if it is None.
    """

    type = "possession"

    proof: str = constrained(digest())
    channel: str | None = constrained(optional(one_of("module", "files")), default=None)

    @property
    def about(self) -> Channel:
        """The channel that the message is about."""
        return _provable(self.channel)


SEALED_MEMORY = "sealed_memory"
"""The feature of nodes that take `SealedMemory`: on a stream that passes descriptors."""


@attrs.frozen(kw_only=True)
class SealedMemory(Message):
    """All bytes of a channel are in sealed memory, whose descriptor comes with this message."""

    type = SEALED_MEMORY

    channel: str = constrained(one_of("files"))

    @property
    def about(self) -> Channel:
        """The channel that the message is about."""
        return _provable(self.channel)


@attrs.frozen(kw_only=True)
class Offered(Message):
    """The node has reserved a place for the upload."""

    type = "offered"

    job_id: str = constrained(digest())
    expires_s: int = constrained(integer(1))
    challenge: str = constrained(lower_hex(32))
    received: Uploads
    credit: Uploads


@attrs.frozen(kw_only=True)
class Possessed(Message):
    """Whether the node has the module, or the files, so that the client need not send them. `channel`: `module` if it
    is None.
    """

    type = "possessed"

    known: bool = constrained(boolean())
    channel: str | None = constrained(optional(one_of("module", "files")), default=None)

    @property
    def about(self) -> Channel:
        """The channel that the message is about."""
        return _provable(self.channel)


@attrs.frozen(kw_only=True)
class Progress(Message):
    """The step that the node performs before it accepts the job."""

    type = "progress"

    phase: str = constrained(text(pattern=_NAME, maximum=64))


@attrs.frozen(kw_only=True)
class Accepted(Message):
    """The node has stored the job durably."""

    type = "accepted"

    job_id: str = constrained(digest())
    status: Status


@attrs.frozen(kw_only=True)
class Attached(Message):
    """The node has the job, and will send its output."""

    type = "attached"

    job_id: str = constrained(digest())
    status: Status


@attrs.frozen(kw_only=True)
class State(Message):
    """The job's state has changed."""

    type = "state"

    status: Status


@attrs.frozen(kw_only=True)
class Result(Message):
    """The job has ended, and all its output has been sent."""

    type = "result"

    status: Status
    envelope: str = constrained(text(pattern=r"(?s:.*)", maximum=MAX_CONTROL_BYTES), shown=False)


@attrs.frozen(kw_only=True)
class OutputContents(Message):
    """The kind and size of a requested output; its bytes follow.

    `kind`: `file`, `tree`, or `none` if the job did not leave it. `size`: the bytes of a file, or of a tree's pack.
    """

    type = "contents"

    job_id: str = constrained(digest())
    kind: str = constrained(one_of("file", "tree", "none"))
    size: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class StatusIs(Message):
    """The answer to a question about a job."""

    type = "status"

    job_id: str = constrained(digest())
    status: Status


@attrs.frozen(kw_only=True)
class Capabilities(Message):
    """The node's signed capability record."""

    type = "capabilities"

    envelope: str = constrained(text(pattern=r"(?s:.*)", maximum=MAX_CONTROL_BYTES))


@attrs.frozen(kw_only=True)
class Refused(Message):
    """The node refuses the request, with the reason."""

    type = "refused"

    reason: str = constrained(text(pattern=_NAME, maximum=64))
    message: str = constrained(_words())
    hint: str | None = constrained(optional(_words()), default=None)
    retry_after_s: int | None = constrained(optional(integer(0)), default=None)


@attrs.frozen(kw_only=True)
class Credit(Message):
    """The receiver has room for a channel's bytes up to an offset.

    From a client it names the attempt it applies to.
    """

    type = "credit"

    channel: str = constrained(
        one_of("module", "args", "env", "stdin", "files", "stdout", "stderr", "contents")
    )
    upto: int = constrained(integer(0))
    attempt: int = constrained(integer(0), default=0)


@attrs.frozen(kw_only=True)
class Heartbeat(Message):
    """The sender is alive, and has nothing else to send."""

    type = "heartbeat"


@attrs.frozen(kw_only=True)
class Error(Message):
    """The reason why the sender closes the stream."""

    type = "error"

    code: str = constrained(text(pattern=_NAME, maximum=64))
    message: str = constrained(_words())


def _by_type(*classes: type[Message]) -> dict[str, type[Message]]:
    return {cls.type: cls for cls in classes}


_EITHER = _by_type(Credit, Heartbeat, Error)
FROM_CLIENT = (
    _by_type(Submit, Attach, AskStatus, Cancel, Release, AskCapabilities, Fetch, Possession, SealedMemory)
    | _EITHER
)
FROM_NODE = (
    _by_type(Hello, Offered, Possessed, Progress, Accepted, Attached, State, Result)
    | _by_type(StatusIs, Capabilities, OutputContents, Refused)
    | _EITHER
)


def encode(message: Message) -> dict[str, Any]:
    """Encode a message as a JSON object, without the fields that are None."""
    return {"type": message.type, **_present(unstructure(message))}


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _present(item) if isinstance(item, dict) else item
        for name, item in value.items()
        if item is not None
    }


def parse(body: bytes, known: dict[str, type[Message]]) -> Message:
    """Parse a message, one of the types that the other side may send. Raises: `ProtocolError`."""
    try:
        value = parse_json(body, record="message", maximum=MAX_CONTROL_BYTES, maximum_values=MAX_VALUES)
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise ProtocolError("a control frame that is no object with a type")
        cls = known.get(name)
        if cls is None:
            raise ProtocolError(f"an unknown message: {name[:64]!r}")
        return structure(value, cls, record=f"{name} message")
    except InvalidRecordError as exc:
        raise ProtocolError(str(exc)) from None
