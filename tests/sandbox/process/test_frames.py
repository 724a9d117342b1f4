"""Feed the daemon's side what a worker can send that its guest has taken over."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.sandbox.process.worker_frames import (
    JOB,
    MAX_OUTCOME_BYTES,
    MAX_OUTPUT_FRAME_BYTES,
    OUTCOME,
    STDERR,
    STDOUT,
    WorkerFrames,
    frame,
)

honest = st.one_of(
    st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=300)),
    st.tuples(st.just(OUTCOME), st.binary(max_size=300)),
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes into pieces, some of them empty."""
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.lists(honest, max_size=8), st.lists(st.integers(0, 5_000), max_size=20))
def test_frames_are_decoded_equally_in_any_pieces(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(kind, body) for kind, body in frames)
    parser = WorkerFrames()

    assert [found for piece in split(data, cuts) for found in parser.feed(piece)] == frames


@given(st.lists(honest, max_size=3), honest, st.integers(1, 400))
def test_a_frame_is_given_when_it_is_whole_and_not_before(
    before: list[tuple[int, bytes]], last: tuple[int, bytes], missing: int
) -> None:
    data = b"".join(frame(kind, body) for kind, body in [*before, last])
    missing = min(missing, 5 + len(last[1]))
    parser = WorkerFrames()

    assert parser.feed(data[:-missing]) == before
    assert parser.feed(data[len(data) - missing :]) == [last]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_garbage_decodes_to_the_same_frames_or_error_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
        parser, found = WorkerFrames(), []
        try:
            for piece in pieces:
                found += parser.feed(piece)
        except ValueError:
            return [], True
        return found, False

    assert outcome([data]) == outcome(split(data, cuts))


@pytest.mark.parametrize("kind", [JOB, 6, 127, 255])
def test_an_unknown_kind_is_an_error(kind: int) -> None:
    with pytest.raises(ValueError, match=str(kind)):
        WorkerFrames().feed(frame(kind, b""))


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(STDOUT, MAX_OUTPUT_FRAME_BYTES), (STDERR, MAX_OUTPUT_FRAME_BYTES), (OUTCOME, MAX_OUTCOME_BYTES)],
)
def test_a_frame_beyond_its_limit_is_an_error_before_it_arrives(kind: int, limit: int) -> None:
    """A length is never taken as a promise to keep that much."""
    for length in (limit + 1, 2**31, 2**32 - 1):
        with pytest.raises(ValueError, match=str(length)):
            WorkerFrames().feed(struct.pack("<BI", kind, length))


@pytest.mark.parametrize(("kind", "limit"), [(STDOUT, MAX_OUTPUT_FRAME_BYTES), (OUTCOME, MAX_OUTCOME_BYTES)])
def test_a_frame_of_its_limit_is_taken(kind: int, limit: int) -> None:
    body = bytes(limit)

    assert WorkerFrames().feed(frame(kind, body)) == [(kind, body)]


def test_an_error_comes_as_soon_as_the_header_is_there() -> None:
    parser = WorkerFrames()

    assert parser.feed(frame(STDOUT, b"fine") + b"\x09\0\0\0") == [(STDOUT, b"fine")]
    with pytest.raises(ValueError, match="9"):
        parser.feed(b"\0")
