"""Hold handles: a handle opens a job, and a damaged one is recognised."""

import hashlib
import hmac

import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Handle
from tests.support.receipts import OTHER_SIGNER, SIGNER

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
HANDLE = Handle(job_id="5c" * 32, secret=bytes(range(32)), peer=SIGNER.peer_id)
TEXT = str(HANDLE)


def refused(text: str) -> None:
    with pytest.raises(InvalidRecordError, match=r"^not a valid handle: ") as caught:
        Handle.parse(text)
    assert TEXT[8:] not in str(caught.value)


def test_a_handle_comes_back_as_it_was() -> None:
    assert Handle.parse(TEXT) == HANDLE
    assert TEXT.startswith("phase0-")


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_a_handle_cut_short_is_recognised(length: int) -> None:
    refused(TEXT[:length])


@pytest.mark.parametrize("at", range(len("phase0-"), len(TEXT) - 1))
def test_a_mistyped_character_is_recognised(at: int) -> None:
    other = ALPHABET[ALPHABET.index(TEXT[at]) ^ 0b100001]

    refused(TEXT[:at] + other + TEXT[at + 1 :])


def test_a_mistyped_last_character_is_recognised() -> None:
    others = [character for character in ALPHABET if character != TEXT[-1]]

    for other in others:
        refused(TEXT[:-1] + other)


@pytest.mark.parametrize("at", range(len("phase0-"), len(TEXT) - 1, 7))
def test_exchanged_neighbours_are_recognised(at: int) -> None:
    if TEXT[at] == TEXT[at + 1]:
        return
    refused(TEXT[:at] + TEXT[at + 1] + TEXT[at] + TEXT[at + 2 :])


@pytest.mark.parametrize(
    "text",
    [
        f" {TEXT}",
        f"{TEXT}\n",
        f"{TEXT}=",
        f"{TEXT}{TEXT[-1]}",
        TEXT.upper(),
        TEXT.replace("phase0-", "phase1-"),
        TEXT.removeprefix("phase0-"),
        TEXT[:20] + "é" + TEXT[21:],
        TEXT[:20] + "+" + TEXT[21:],
        "phase0-",
        "phase0-A",
        "phase0-" + "A" * 257,
        "phase0-" + "A" * 10_000_000,
    ],
    ids=range(13),
)
def test_a_text_that_only_resembles_a_handle_is_refused(text: str) -> None:
    refused(text)


def test_a_checksum_over_something_else_does_not_help() -> None:
    """A handle whose parts are of other lengths is refused though its checksum is right."""
    import base64

    for body in (b"", b"short", bytes(102), bytes(103), bytes.fromhex("5c" * 32) + bytes(32)):
        whole = body + hashlib.sha256(body).digest()[:4]
        refused("phase0-" + base64.urlsafe_b64encode(whole).decode().rstrip("="))


def test_tokens_differ_from_node_to_node() -> None:
    mine, other = HANDLE.token(), HANDLE.token(OTHER_SIGNER.peer_id)

    assert mine == HANDLE.token(SIGNER.peer_id)
    assert mine != other
    assert mine == hmac.digest(HANDLE.secret, SIGNER.peer_id.multihash, "sha256")


def test_each_new_handle_has_a_secret_of_its_own() -> None:
    secrets = {Handle.new("5c" * 32, SIGNER.peer_id).secret for _ in range(50)}

    assert len(secrets) == 50
    assert {len(secret) for secret in secrets} == {32}


def test_the_secret_shows_only_where_the_handle_itself_is_asked_for() -> None:
    assert repr(HANDLE.secret) not in repr(HANDLE)
    assert TEXT not in repr(HANDLE)


@pytest.mark.parametrize(("job_id", "secret"), [("5c", bytes(32)), ("5C" * 32, bytes(32)), ("5c" * 32, b"x")])
def test_a_handle_that_could_not_be_read_again_cannot_be_made(job_id: str, secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"job_id|secret"):
        Handle(job_id=job_id, secret=secret, peer=SIGNER.peer_id)
