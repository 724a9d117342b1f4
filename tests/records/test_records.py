"""Feed the records anything: what is sound comes back as it was, all else is an `InvalidRecordError`."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.errors import InvalidRecordError
from plasm_core.records import (
    CAPABILITIES,
    Decision,
    Envelope,
    Handle,
    Limits,
    Manifest,
    Outcome,
    PeerId,
    Receipt,
    Retry,
    Signature,
)
from plasm_core.records.converter import MAX_DEPTH, parse_json
from plasm_core.records.ed25519 import key_problem
from plasm_core.records.outcome import CLAIMED
from plasm_core.trap_kinds import TRAP_KINDS
from plasm_core.verification import Expectation, verify
from tests.support.mutations import json_values, mutated
from tests.support.receipts import document, envelope, manifest, outputs_of, receipt

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
peers = (
    st.binary(min_size=32, max_size=32)
    .filter(lambda key: key_problem(key) is None)
    .map(PeerId.from_public_key)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

manifests = st.builds(
    manifest,
    **dict.fromkeys(("module", "args", "env", "stdin", "seed"), digests),
    limits=st.builds(
        Limits,
        gas=st.integers(1, 2**53 - 1),
        memory_bytes=st.integers(65_536, 2**32),
        output_bytes=st.integers(0, 2**40),
    ),
    wall_time_s=st.integers(1, 86_400),
    cpu=st.integers(1, 1024),
    capabilities=st.sets(st.sampled_from(CAPABILITIES)).map(lambda names: tuple(sorted(names))),
    retry=st.builds(Retry, attempts=st.integers(1, 100)),
)
outcomes = st.one_of(
    st.builds(Outcome, kind=st.just("exited"), code=st.integers(0, 2**32 - 1)),
    st.builds(Outcome, kind=st.just("trapped"), trap=st.sampled_from(TRAP_KINDS)),
    st.builds(Outcome, kind=st.sampled_from(["out_of_gas", "output_limit"])),
    st.builds(
        Outcome,
        kind=st.sampled_from(CLAIMED),
        detail=st.none() | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=512),
    ),
)
receipts = st.builds(
    receipt, of=manifests, node=peers, outcome=outcomes, stdout=st.binary(), stderr=st.binary()
)
signatures = st.builds(Signature, key_id=texts, sig=st.binary(max_size=80))
envelopes = st.builds(
    Envelope,
    payload=st.binary(),
    payload_type=texts,
    signatures=st.lists(signatures, min_size=1, max_size=3).map(tuple),
)
handles = st.builds(Handle, job_id=digests, secret=st.binary(min_size=32, max_size=32), peer=peers)


@given(manifests)
def test_any_manifest_comes_back_as_it_was(made: Manifest) -> None:
    assert Manifest.from_json(made.to_json()) == made
    assert Manifest.from_json(made.to_json()).task_digest == made.task_digest


@given(receipts)
def test_any_receipt_comes_back_as_it_was(made: Receipt) -> None:
    assert Receipt.from_statement(made.to_statement()) == made
    assert made.asked.computed_task_digest() == made.asked.task_digest


@given(envelopes)
def test_any_envelope_comes_back_as_it_was(made: Envelope) -> None:
    assert Envelope.from_json(made.to_json()) == made


@given(handles, peers)
def test_any_handle_comes_back_as_it_was(made: Handle, other: PeerId) -> None:
    assert Handle.parse(str(made)) == made
    assert (made.token(other) == made.token()) == (other == made.peer)


@given(peers)
def test_any_peer_id_comes_back_as_it_was(made: PeerId) -> None:
    assert PeerId.parse(str(made)) == made == PeerId.from_multihash(made.multihash)


@given(st.timedeltas(timedelta(0), timedelta(days=365 * 200)))
def test_any_millisecond_comes_back_as_it_was(since: timedelta) -> None:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(
        milliseconds=since // timedelta(milliseconds=1)
    )
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    changed = document(receipt().to_statement(), predicate__claims__startedAt=text)

    assert Receipt.from_statement(json.dumps(changed).encode()).claims.started_at == moment


READERS: list[tuple[Callable[[bytes], object], Any]] = [
    (Manifest.from_json, document(manifest().to_json())),
    (Envelope.from_json, document(envelope().to_json())),
    (Receipt.from_statement, document(receipt().to_statement())),
]


def read_or_refuse(read: Callable[[bytes], object], data: bytes) -> None:
    """Let pass what a reader may do, and let the message be shown, whatever it holds."""
    try:
        read(data)
    except InvalidRecordError as exc:
        assert exc.problems
        assert len(str(exc)) < 100_000


@pytest.mark.parametrize(("read", "_good"), READERS)
@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(read: Callable[[bytes], object], _good: Any, data: bytes) -> None:
    read_or_refuse(read, data)


@pytest.mark.parametrize(("read", "_good"), READERS)
@given(value=json_values)
def test_any_json_is_read_or_refused(read: Callable[[bytes], object], _good: Any, value: Any) -> None:
    read_or_refuse(read, json.dumps(value).encode())


@pytest.mark.parametrize(("read", "good"), READERS)
@given(data=st.data())
def test_any_damaged_record_is_read_or_refused(
    read: Callable[[bytes], object], good: Any, data: st.DataObject
) -> None:
    value = data.draw(mutated(good))

    read_or_refuse(read, json.dumps(value).encode())


@given(st.text(max_size=300) | st.text("AZaz09-_=", max_size=300).map("phase0-".__add__))
def test_any_text_is_a_handle_or_refused(text: str) -> None:
    with pytest.raises(InvalidRecordError, match=r"^not a valid handle: "):
        Handle.parse(text)


@given(st.data())
def test_no_damaged_envelope_makes_verification_raise(data: st.DataObject) -> None:
    damaged = json.dumps(data.draw(mutated(READERS[1][1]))).encode()

    _, verdict = verify(damaged, Expectation(outputs=outputs_of(b"", b"")), [])

    assert verdict.decision is Decision.REJECT


def _parsed(data: bytes) -> Any:
    return parse_json(data, record="text", maximum=len(data))


def test_a_string_that_is_not_closed_is_gone_through_once() -> None:
    """It was gone through from each of its quotes: 16 KiB took 2 s of a daemon's loop, this would take hours."""
    with pytest.raises(InvalidRecordError):
        _parsed(b"[" + b"[]," * 300 + b'"' + b'\\"' * 500_000)


@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("inner", [b"1", b'"[{"', b'"\\"[["', b'"\\\\"', '"é[\U0001f600]"'.encode()])
def test_brackets_in_strings_nest_nothing(around: tuple[bytes, bytes], inner: bytes) -> None:
    def nested(depth: int) -> bytes:
        return around[0] * depth + inner + around[1] * depth

    _parsed(b"[" + b'"]]",[{}],' * 300 + nested(MAX_DEPTH - 1) + b"]")
    with pytest.raises(InvalidRecordError, match="nested too deeply"):
        _parsed(nested(MAX_DEPTH + 1))
