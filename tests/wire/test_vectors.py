"""The bytes of every message, shared with the other languages' clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plasm_core.errors import ProtocolError
from plasm_core.wire import messages as m
from plasm_core.wire.frames import Channel, Data, FrameReader, control_frame, data_frame
from tests.vectors.generate_protocol import generate

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "protocol.json").read_text())
SIDES = {"client": m.FROM_CLIENT, "node": m.FROM_NODE}


def test_vectors_are_what_the_generator_writes() -> None:
    assert generate() == VECTORS


def test_every_message_has_a_vector() -> None:
    covered = {(item["from"], item["message"]["type"]) for item in VECTORS["messages"]}

    assert covered == {(side, name) for side, known in SIDES.items() for name in known}


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: str(vector["message"]["type"]))
def test_a_message_is_read_and_written_as_its_bytes(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])

    (message,) = FrameReader(SIDES[vector["from"]]).feed(frame)

    assert isinstance(message, m.Message)
    assert m.encode(message) == vector["message"]
    assert control_frame(message) == frame


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: str(vector["message"]["type"]))
def test_unknown_fields_are_ignored(vector: dict[str, Any]) -> None:
    known = SIDES[vector["from"]]
    body = {**vector["message"], "novelty": {"a": [1, None]}}

    message = m.parse(json.dumps(body).encode(), known)

    assert m.encode(message) == vector["message"]


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda vector: str(vector["channel"]))
def test_data_is_read_and_written_as_its_bytes(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])
    expected = Data(Channel(vector["number"]), vector["offset"], bytes.fromhex(vector["data_hex"]))

    assert list(FrameReader(SIDES[vector["from"]]).feed(frame)) == [expected]
    assert data_frame(expected.channel, expected.offset, expected.data) == frame
    assert expected.channel.label == vector["channel"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: str(vector["why"]))
@pytest.mark.parametrize("side", SIDES)
def test_what_is_no_frame_is_refused(side: str, vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader(SIDES[side]).feed(bytes.fromhex(vector["frame_hex"])))
