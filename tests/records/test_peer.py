"""Hold PeerIds against libp2p's vectors, and key ids against securesystemslib's."""

import pytest

from plasm_core.records import PeerId, key_id
from plasm_core.records.peer import base58_decode, base58_encode

SEED_KEY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
SEED_PEER = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
# libp2p specification, "Peer Ids and Keys", test vectors: the Ed25519 public key as a protobuf
SPEC_PROTOBUF = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"


def test_a_key_has_the_peer_id_and_key_id_that_others_compute() -> None:
    assert str(PeerId(SEED_KEY)) == SEED_PEER
    assert PeerId.parse(SEED_PEER) == PeerId(SEED_KEY)
    assert key_id(SEED_KEY) == "63d00ee3cf4f5c61ad94efa696c68f13b608fe56ecea13fb144a6fd18e9235b9"


def test_the_binary_form_is_the_identity_multihash_of_the_protobuf() -> None:
    peer = PeerId(bytes.fromhex(SPEC_PROTOBUF)[4:])

    assert peer.multihash.hex() == "0024" + SPEC_PROTOBUF
    assert str(peer) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
    assert PeerId.from_multihash(peer.multihash) == peer


@pytest.mark.parametrize(
    "text",
    [
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        "12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK",
    ],
)
def test_peer_ids_seen_in_the_wild_come_back_as_they_were(text: str) -> None:
    assert str(PeerId.parse(text)) == text


# draft-msporny-base58-03, section 5
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"\0\0\1", "112"),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    ],
)
def test_base58_is_bitcoins(data: bytes, text: str) -> None:
    assert base58_encode(data) == text
    assert base58_decode(text) == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", " 1", "é"])
def test_base58_has_no_ambiguous_letters(text: str) -> None:
    with pytest.raises(ValueError, match="substring not found"):
        base58_decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SEED_PEER[:-1],
        SEED_PEER + "1",
        SEED_PEER + "\n",
        " " + SEED_PEER,
        "z" + SEED_PEER,
        SEED_PEER.replace("12D3KooWA", "12D3KooW0"),
        SEED_PEER.lower(),
        "12D3KooW" + "z" * 44,
        "12D3KooW" + "1" * 44,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "bafzaajaiaejcal72gwuz2or47oyxxn6b3hpyqf7pqm5fngqs5j5ng4yuhz6kqvtb",
        "16Uiu2HAm" + "1" * 44,
    ],
)
def test_a_peer_id_of_another_key_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not the PeerId of an Ed25519 key"):
        PeerId.parse(text)


@pytest.mark.parametrize("change", [b"", b"\0" * 38, b"\x12" + PeerId(SEED_KEY).multihash[1:]])
def test_another_multihash_is_refused(change: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not the PeerId of an Ed25519 key"):
        PeerId.from_multihash(change)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "a" * 32, None])
def test_a_key_has_32_bytes(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"^an Ed25519 public key has 32 bytes"):
        PeerId(key)


def test_every_mistyped_letter_gives_another_peer_or_an_error() -> None:
    for at in range(len(SEED_PEER)):
        other = "2" if SEED_PEER[at] != "2" else "3"
        mistyped = SEED_PEER[:at] + other + SEED_PEER[at + 1 :]
        try:
            assert PeerId.parse(mistyped) != PeerId(SEED_KEY)
        except ValueError:
            continue
