"""`plasm_core.verify` returns only for a receipt that holds, is trusted, and is of what the caller has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core import verify
from plasm_core.config import Config
from plasm_core.errors import ConfigError, ReceiptRejectedError, ReceiptUndecidedError
from tests.support.receipts import MODULE, OTHER_SIGNER, SIGNER, STDOUT, envelope, manifest, receipt

KEY = SIGNER.peer_id


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path))


@pytest.mark.parametrize("form", ["envelope", "bytes", "path", "text"])
def test_a_receipt_is_taken_in_each_form(form: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(envelope().to_json())
    forms: dict[str, Any] = {
        "envelope": envelope(),
        "bytes": envelope().to_json(),
        "path": file,
        "text": str(file),
    }

    verdict = verify(forms[form], keys=KEY, module=MODULE, stdout=STDOUT, args=[], env={}, stdin=b"")

    assert str(verdict) == (
        f"receipt verified ✓ signed by {KEY}, a node that you named, not re-executed; the job exited with code 0"
    )
    assert {"signature", "module", "stdout", "args", "env", "stdin"} <= set(verdict.established)


@pytest.mark.parametrize("key", [KEY, str(KEY), KEY.public_key.hex(), [str(OTHER_SIGNER.peer_id), KEY]])
def test_a_key_is_taken_in_each_form(key: Any) -> None:
    assert verify(envelope(), keys=key).signer == KEY


@pytest.mark.parametrize(
    "other",
    [
        {"module": MODULE + b"x"},
        {"args": ["x"]},
        {"env": {"A": "b"}},
        {"stdin": b"x"},
        {"stdout": b"x"},
        {"stderr": b"x"},
        {"manifest": manifest(cpu=2)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_receipt_of_something_else_is_rejected(other: dict[str, Any]) -> None:
    with pytest.raises(ReceiptRejectedError, match="not what the receipt says"):
        verify(envelope(), keys=KEY, **other)


def test_a_stranger_s_receipt_is_undecided_and_says_what_to_do() -> None:
    with pytest.raises(ReceiptUndecidedError) as raised:
        verify(envelope())

    assert raised.value.hint == "a receipt does not say whom you trust: name the key with keys="


def test_a_receipt_that_another_key_signed_is_not_accepted() -> None:
    with pytest.raises((ReceiptRejectedError, ReceiptUndecidedError)):
        verify(envelope(), keys=OTHER_SIGNER.peer_id)


def test_known_nodes_of_the_configuration_are_trusted() -> None:
    config = Config()
    known = attrs.evolve(config, plasm=attrs.evolve(config.plasm, known=(str(KEY),)))

    assert verify(envelope(), config=known).signer == KEY


def test_what_is_required_must_be_established() -> None:
    with pytest.raises(ReceiptUndecidedError, match="2 nodes must agree, and 1 did"):
        verify(envelope(), keys=KEY, require="quorum")
    with pytest.raises(ConfigError, match="expected one of"):
        verify(envelope(), keys=KEY, require="everything")


def test_receipts_of_different_tasks_are_not_of_one() -> None:
    other = attrs.evolve(receipt(), asked=attrs.evolve(receipt().asked, stdin="cd" * 32))

    with pytest.raises(ReceiptRejectedError):
        verify(envelope(), envelope(other), keys=KEY)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((), {}, ValueError),
        ((envelope(),) * 100, {}, ValueError),
        ((5,), {}, TypeError),
        ((envelope(),), {"stdout": 5}, TypeError),
        ((envelope(),), {"args": "words"}, TypeError),
        ((envelope(),), {"keys": "no key"}, OSError),
        ((envelope(),), {"keys": "00" * 32}, ValueError),
        ((envelope(),), {"modul": b""}, TypeError),
    ],
)
def test_unusable_values_are_refused(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        verify(*arguments, **options)
