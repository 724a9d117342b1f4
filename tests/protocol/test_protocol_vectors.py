"""The bytes of every message, shared with the other languages' clients."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plasm_core.errors import ProtocolError
from plasm_core.protocol import messages as m
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import Data, FrameReader, control_frame, data_frame
from plasm_core.sandbox.process.file_pack import PackDigests, read_pack
from plasm_core.sandbox.process.tree_packing import TreeSource, pack_tree
from plasm_core.tree_listing import ListingError
from tests.vectors import generate_file_transfer
from tests.vectors.generate_protocol import generate

HERE = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((HERE / "protocol.json").read_text())
FILES = json.loads((HERE / "file_transfer.json").read_text())
MESSAGES = [*VECTORS["messages"], *FILES["messages"]]
DATA = [*VECTORS["data"], *FILES["data"]]
SIDES = {"client": m.FROM_CLIENT, "node": m.FROM_NODE}


def test_vectors_are_what_the_generator_writes() -> None:
    assert generate() == VECTORS
    assert generate_file_transfer.generate() == FILES


def test_every_message_has_a_vector() -> None:
    covered = {(item["from"], item["message"]["type"]) for item in MESSAGES}

    assert covered == {(side, name) for side, known in SIDES.items() for name in known}


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: str(vector["message"]["type"]))
def test_a_message_is_read_and_written_as_its_bytes(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])

    (message,) = FrameReader(SIDES[vector["from"]]).feed(frame)

    assert isinstance(message, m.Message)
    assert m.encode(message) == vector["message"]
    assert control_frame(message) == frame


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: str(vector["message"]["type"]))
def test_unknown_fields_are_ignored(vector: dict[str, Any]) -> None:
    known = SIDES[vector["from"]]
    body = {**vector["message"], "novelty": {"a": [1, None]}}

    message = m.parse(json.dumps(body).encode(), known)

    assert m.encode(message) == vector["message"]


@pytest.mark.parametrize("vector", DATA, ids=lambda vector: str(vector["channel"]))
def test_data_is_read_and_written_as_its_bytes(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])
    expected = Data(Channel(vector["number"]), vector["offset"], bytes.fromhex(vector["data_hex"]))

    assert list(FrameReader(SIDES[vector["from"]]).feed(frame)) == [expected]
    assert data_frame(expected.channel, expected.offset, expected.data) == frame
    assert expected.channel.label == vector["channel"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: str(vector["why"]))
@pytest.mark.parametrize("side", SIDES)
def test_an_invalid_frame_is_refused(side: str, vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader(SIDES[side]).feed(bytes.fromhex(vector["frame_hex"])))


def _descriptor(data: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.dup(file.fileno())


@pytest.mark.parametrize("vector", FILES["packs"], ids=lambda vector: str(vector["name"]))
def test_a_pack_is_read_as_its_tree(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["pack_hex"])

    with read_pack(_descriptor(data), len(data)) as pack:
        files = {
            entry.path.decode(): os.pread(pack.fd, entry.size, pack.offsets[entry.digest]).hex()
            for entry in pack.entries
            if entry.digest
        }

        assert (pack.tree, files) == (vector["tree"], vector["files"])
        assert pack.size_bytes == len(data)


def test_a_tree_has_the_pack_of_the_vectors() -> None:
    for vector in FILES["packs"]:
        data = bytes.fromhex(vector["pack_hex"])
        with read_pack(_descriptor(data), len(data)) as pack:
            contents = {path.encode(): bytes.fromhex(text) for path, text in vector["files"].items()}
            sources = [
                TreeSource(
                    path=entry.path,
                    kind=entry.kind,
                    target=entry.target,
                    open=partial(io.BytesIO, contents[entry.path]) if entry.path in contents else None,
                )
                for entry in pack.entries
            ]
            with pack_tree(sources) as again:
                assert os.pread(again.fd, 1 << 20, 0) == data


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("vector", FILES["packs"], ids=lambda vector: str(vector["name"]))
def test_a_pack_is_compared_while_it_arrives(vector: dict[str, Any], step: int) -> None:
    data = bytes.fromhex(vector["pack_hex"])
    digests = PackDigests(vector["tree"], len(data))

    for start in range(0, len(data), step):
        assert not digests.is_whole
        digests.update(data[start : start + step])

    assert digests.is_whole


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("vector", FILES["refused_packs"], ids=lambda vector: str(vector["why"]))
def test_an_invalid_pack_never_becomes_complete(vector: dict[str, Any], step: int) -> None:
    data = bytes.fromhex(vector["pack_hex"])
    tree = next(item["tree"] for item in FILES["packs"] if item["name"] == "a tree")
    digests = PackDigests(tree, len(data))

    with contextlib.suppress(ListingError):
        for start in range(0, len(data), step):
            digests.update(data[start : start + step])

    assert not digests.is_whole


@pytest.mark.parametrize("vector", FILES["refused_packs"], ids=lambda vector: str(vector["why"]))
def test_an_invalid_pack_is_refused(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["pack_hex"])

    with pytest.raises(ListingError):
        read_pack(_descriptor(data), len(data))
