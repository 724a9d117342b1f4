"""Read the keys that a user trusts: a PeerId, hexadecimal digits, or a public key in PEM or DER."""

from __future__ import annotations

import os
import re

from plasm_core.input_file import read_input
from plasm_core.records.cid import parse_peer
from plasm_core.records.peer import PeerId
from plasm_core.records.spki import read_public_key

_MAX_KEY_BYTES = 65_536


def read_key(text: str) -> PeerId:
    """Parse a key: a PeerId, a file if one has that name, or 64 hexadecimal digits. Raises: ValueError, OSError.

    A PeerId whose name a file has too is refused if the file holds another key: anybody who can put a file into the
    working directory must not choose the trusted key.
    """
    if not os.path.exists(text):
        if re.fullmatch("[0-9a-fA-F]{64}", text):
            return PeerId.from_public_key(bytes.fromhex(text))
        if re.fullmatch("[A-Za-z0-9]{40,128}", text):
            return parse_peer(text)
    named, held = _peer(text), None
    try:
        held = read_public_key(read_input(text, _MAX_KEY_BYTES))
    except (OSError, ValueError):
        if named is None:
            raise
    if named is not None and held not in (None, named):
        raise ValueError(f"a PeerId, and a file with another key, {held}; ./{text} names the file")
    found = held or named
    assert found is not None
    return found


def _peer(text: str) -> PeerId | None:
    try:
        return parse_peer(text)
    except ValueError:
        return None
