"""Hold what a terminal shows whose encoding lacks our marks."""

from __future__ import annotations

import io
import sys

import pytest

from plasm_core import standard_streams


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"ok x ... - ? e"), ("latin-1", b"ok x ... \xb7 ? e"), ("utf-8", "✓ ✗ … · Ж e".encode())],
)
def test_success_and_failure_differ_in_every_encoding(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding))

    standard_streams.forgive_encodings()
    sys.stderr.write("✓ ✗ … · Ж e")
    sys.stderr.flush()

    assert written.getvalue() == shown
