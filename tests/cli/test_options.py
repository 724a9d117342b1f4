"""Hold the words in which the commands take numbers, durations, limits and keys."""

import base64
from pathlib import Path

import click
import pytest

from plasm_core.cli import option_values
from plasm_core.cli.verify import parse_key
from plasm_core.records import Limits
from plasm_core.records.manifest import DEFAULT_LIMITS
from plasm_core.records.spki import public_key_pem
from plasm_core.testing.claims import SeedSigner
from tests.support.receipts import SIGNER


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("65536", 65_536),
        ("64MiB", 64 << 20),
        ("64mib", 64 << 20),
        ("64 MiB", 64 << 20),
        ("64Mi", 64 << 20),
        ("1K", 1000),
        ("2G", 2 * 10**9),
        ("1TiB", 1 << 40),
        ("100B", 100),
        ("1e9", 10**9),
        ("1.5e3", 1500),
        ("1.5KiB", 1536),
        ("1.005K", 1005),
        ("9007199254740993.0", 9007199254740993),
        ("9007199254740993", 9007199254740993),
        ("9007199254740993KiB", 9007199254740993 << 10),
    ],
)
def test_a_quantity_is_read_exactly(text: str, value: int) -> None:
    assert option_values.quantity(text, what="x") == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "x", "1x", "1 2", "i", "1i", "0x10", "1_000", "1,000", "\u0661"]
)
def test_an_invalid_quantity_is_refused(text: str) -> None:
    with pytest.raises(
        click.BadParameter, match=r"^--limit gas: expected a number such as 1e9 or 64MiB, got"
    ):
        option_values.quantity(text, what="--limit gas")


@pytest.mark.parametrize("text", ["99999.9", "0.5", "1.55e1"])
def test_a_part_of_one_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"^--limit gas: expected a whole number, got"):
        option_values.quantity(text, what="--limit gas")


@pytest.mark.parametrize(
    ("text", "value"), [("30", 30), ("30s", 30), ("5min", 300), ("5 m", 300), ("1H", 3600)]
)
def test_a_duration_is_read_in_seconds(text: str, value: int) -> None:
    assert option_values.seconds(text, what="x") == value


@pytest.mark.parametrize("text", ["", "-1", "1.5", "5ms", "1d", "1h30m"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(
        click.BadParameter, match="expected whole seconds, minutes or hours, such as 30s, 5min or 2h, got"
    ):
        option_values.seconds(text, what="wall")


def test_limits_that_are_not_named_keep_their_defaults() -> None:
    assert option_values.limits(()) == (DEFAULT_LIMITS, 60)
    assert option_values.limits(("gas=1e6", "memory=1MiB", "output=0", "wall=5min")) == (
        Limits(gas=10**6, memory_bytes=1 << 20, output_bytes=0),
        300,
    )


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("gas", "--limit gas: expected gas, memory, output, wall with =VALUE"),
        ("fuel=1", "--limit fuel=1: expected gas, memory, output, wall with =VALUE"),
        ("gas=0", "--limit gas: expected 1 to 9007199254740991"),
        ("gas=1e99", "--limit gas: expected 1 to 9007199254740991"),
        ("memory=1KiB", "--limit memory: expected 64KiB to 4GiB"),
        ("memory=5GiB", "--limit memory: expected 64KiB to 4GiB"),
        ("output=-1", "--limit output: expected a number"),
        ("wall=forever", "--limit wall: expected whole seconds, minutes or hours"),
    ],
)
def test_a_wrong_limit_is_named(pair: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        option_values.limits((pair,))
    assert str(caught.value.message).startswith(message)


@pytest.mark.parametrize("pairs", [("gas=1", "gas=2"), ("wall=5s", "gas=1", "wall=5s")])
def test_a_limit_is_given_once(pairs: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter, match="was given more than once"):
        option_values.limits(pairs)


@pytest.mark.parametrize("pair", [f"gas={'1' * 5000}", f"gas={'1' * 400}.5", f"wall={'1' * 5000}"])
def test_a_number_of_hundreds_of_digits_is_a_wrong_limit_too(pair: str) -> None:
    with pytest.raises(click.BadParameter):
        option_values.limits((pair,))


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")

    assert option_values.read_file(str(tmp_path / "f"), maximum=5, what="module") == b"12345"
    with pytest.raises(click.ClickException, match=r"^module .*/f has more than 4 bytes$"):
        option_values.read_file(str(tmp_path / "f"), maximum=4, what="module")
    with pytest.raises(click.ClickException, match=r"^cannot read module .*/g: No such file or directory$"):
        option_values.read_file(str(tmp_path / "g"), maximum=5, what="module")
    with pytest.raises(click.ClickException, match=r"^cannot read module .*: Is a directory$"):
        option_values.read_file(str(tmp_path), maximum=5, what="module")


def test_a_key_is_named_by_its_peer_id_its_digits_or_a_file(tmp_path: Path) -> None:
    peer = SIGNER.peer_id
    (tmp_path / "pub.pem").write_text(public_key_pem(peer))

    for text in (str(peer), peer.public_key.hex(), peer.public_key.hex().upper(), str(tmp_path / "pub.pem")):
        assert parse_key(text) == peer


def cid_of(multihash: bytes) -> str:
    """Return a PeerId's other text form: a CID of version 1, libp2p-key, in base 32."""
    return "b" + base64.b32encode(b"\x01\x72" + multihash).decode().lower().rstrip("=")


def test_a_file_cannot_take_the_place_of_a_peer_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who names a PeerId in a directory with a stranger's files trusts that node, not a file of that name."""
    monkeypatch.chdir(tmp_path)
    peer, other = SIGNER.peer_id, SeedSigner(b"other key".ljust(32, b".")).peer_id
    for text in (str(peer), cid_of(peer.multihash)):
        (tmp_path / text).write_text(public_key_pem(other))
        with pytest.raises(click.BadParameter, match=f"a PeerId, and a file with another key, {other}"):
            parse_key(text)
        assert parse_key(f"./{text}") == other

        (tmp_path / text).write_text(public_key_pem(peer))
        assert parse_key(text) == peer
        (tmp_path / text).write_text("no key at all")
        assert parse_key(text) == peer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--key : no PeerId, no hexadecimal key, and no file to read"),
        (
            "missing.pem",
            "--key missing.pem: no PeerId, no hexadecimal key, and no file to read (No such file",
        ),
        ("12D3KooW", "--key 12D3KooW: no PeerId, no hexadecimal key, and no file to read (No such file"),
        ("12D3KooW" * 6, f"--key {'12D3KooW' * 6}: not the PeerId of an Ed25519 key"),
        ("zz" * 32, f"--key {'zz' * 32}: "),
        (" " * 64, f"--key {' ' * 64}: no PeerId, no hexadecimal key, and no file to read (No such file"),
        ("/dev/null", "--key /dev/null: not a public key in PEM form"),
    ],
)
def test_a_text_that_names_no_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.BadParameter) as caught:
        parse_key(text)
    assert str(caught.value.message).startswith(message)
