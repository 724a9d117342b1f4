"""The messages of the job protocol (docs/protocol.md), each a record."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import attrs

from plasm_core.errors import InvalidRecordError, ProtocolError
from plasm_core.records.converter import parse_json, structure, unstructure
from plasm_core.records.fields import (
    boolean,
    constrained,
    digest,
    integer,
    lower_hex,
    one_of,
    text,
    timestamp,
)
from plasm_core.records.outcome import CLAIMED, RECHECKABLE, optional
from plasm_core.records.peer import peer_name

MAX_CONTROL_BYTES = 131_072

STATES = ("QUEUED", "INITIALIZING", "RUNNING", "COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED")
"""The states of a job, in GA4GH TES words."""
ENDED = frozenset(STATES[3:])

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


@attrs.frozen(kw_only=True)
class Uploads:
    """A number of bytes for each channel of the client."""

    json_open: ClassVar[bool] = True

    module: int = constrained(integer(0))
    args: int = constrained(integer(0))
    env: int = constrained(integer(0))
    stdin: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class Outputs:
    """A number of bytes for each channel of the node."""

    json_open: ClassVar[bool] = True

    stdout: int = constrained(integer(0))
    stderr: int = constrained(integer(0))


NOTHING = Outputs(stdout=0, stderr=0)


@attrs.frozen(kw_only=True)
class Status:
    """Where a job stands."""

    json_open: ClassVar[bool] = True

    state: str = constrained(one_of(*STATES))
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
        return self.state in ENDED


def withdraws_output(status: Status) -> bool:
    """Return whether a result may come after output that it does not have: there is none, by a node's claim."""
    return status.outcome in CLAIMED and status.stdout_bytes == status.stderr_bytes == 0


@attrs.frozen(kw_only=True)
class Hello(Message):
    """The first message of a node."""

    type = "hello"

    peer: str = constrained(peer_name())
    agent: str = constrained(_words(256), default="")


@attrs.frozen(kw_only=True)
class Submit(Message):
    """Ask a node to run a job."""

    type = "submit"

    manifest: str = constrained(text(pattern=r"(?s:.*)", maximum=65_536))
    token: str = constrained(lower_hex(32), shown=False)
    sizes: Uploads
    credit: Outputs
    route: str = constrained(one_of("here", "network"), default="here")


@attrs.frozen(kw_only=True)
class Attach(Message):
    """Follow a job that was accepted, from the bytes one has already."""

    type = "attach"

    job_id: str = constrained(digest())
    token: str = constrained(lower_hex(32), shown=False)
    credit: Outputs
    offsets: Outputs
    attempt: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class Question(Message):
    """What `status`, `cancel` and `release` have in common."""

    job_id: str = constrained(digest())
    token: str = constrained(lower_hex(32), shown=False)


@attrs.frozen(kw_only=True)
class AskStatus(Question):
    """Ask where a job stands."""

    type = "status"


@attrs.frozen(kw_only=True)
class Cancel(Question):
    """End a job."""

    type = "cancel"


@attrs.frozen(kw_only=True)
class Release(Question):
    """Have an ended job's inputs and outputs deleted."""

    type = "release"


@attrs.frozen(kw_only=True)
class AskCapabilities(Message):
    """Ask what a node can and allows."""

    type = "capabilities"


@attrs.frozen(kw_only=True)
class Possession(Message):
    """Prove to have the module: the SHA-256 of the challenge and the module."""

    type = "possession"

    proof: str = constrained(digest())


@attrs.frozen(kw_only=True)
class Offered(Message):
    """A node has reserved a place."""

    type = "offered"

    job_id: str = constrained(digest())
    expires_s: int = constrained(integer(1))
    challenge: str = constrained(lower_hex(32))
    received: Uploads
    credit: Uploads


@attrs.frozen(kw_only=True)
class Possessed(Message):
    """Whether the module need not be sent."""

    type = "possessed"

    known: bool = constrained(boolean())


@attrs.frozen(kw_only=True)
class Progress(Message):
    """What the node does before it accepts."""

    type = "progress"

    phase: str = constrained(text(pattern=_NAME, maximum=64))


@attrs.frozen(kw_only=True)
class Accepted(Message):
    """The job is durable."""

    type = "accepted"

    job_id: str = constrained(digest())
    status: Status


@attrs.frozen(kw_only=True)
class Attached(Message):
    """The job is there."""

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
    """The node does not do what it was asked."""

    type = "refused"

    reason: str = constrained(text(pattern=_NAME, maximum=64))
    message: str = constrained(_words())
    hint: str | None = constrained(optional(_words()), default=None)
    retry_after_s: int | None = constrained(optional(integer(0)), default=None)


@attrs.frozen(kw_only=True)
class Credit(Message):
    """There is room for a channel's bytes up to an offset. A client's names the attempt it is for."""

    type = "credit"

    channel: str = constrained(one_of("module", "args", "env", "stdin", "stdout", "stderr"))
    upto: int = constrained(integer(0))
    attempt: int = constrained(integer(0), default=0)


@attrs.frozen(kw_only=True)
class Heartbeat(Message):
    """Still here."""

    type = "heartbeat"


@attrs.frozen(kw_only=True)
class Error(Message):
    """Why the sender closes."""

    type = "error"

    code: str = constrained(text(pattern=_NAME, maximum=64))
    message: str = constrained(_words())


def _by_type(*classes: type[Message]) -> dict[str, type[Message]]:
    return {cls.type: cls for cls in classes}


_EITHER = _by_type(Credit, Heartbeat, Error)
FROM_CLIENT = _by_type(Submit, Attach, AskStatus, Cancel, Release, AskCapabilities, Possession) | _EITHER
FROM_NODE = (
    _by_type(Hello, Offered, Possessed, Progress, Accepted, Attached, State, Result)
    | _by_type(StatusIs, Capabilities, Refused)
    | _EITHER
)


def encode(message: Message) -> dict[str, Any]:
    """Return a message as a JSON object, without the fields that are None."""
    return {"type": message.type, **_present(unstructure(message))}


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _present(item) if isinstance(item, dict) else item
        for name, item in value.items()
        if item is not None
    }


def parse(body: bytes, known: dict[str, type[Message]]) -> Message:
    """Read a message out of those that the other side may send. Raises: `ProtocolError`."""
    try:
        value = parse_json(body, record="message", maximum=MAX_CONTROL_BYTES)
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise ProtocolError("a control frame that is no object with a type")
        cls = known.get(name)
        if cls is None:
            raise ProtocolError(f"an unknown message: {name[:64]!r}")
        return structure(value, cls, record=f"{name} message")
    except InvalidRecordError as exc:
        raise ProtocolError(str(exc)) from None
