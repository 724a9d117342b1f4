"""Keys that a user trusts, as they are written: a PeerId, hexadecimal digits, or a public key in PEM or DER."""

from __future__ import annotations

import os
import re

from plasm_core.input_file import read_input
from plasm_core.records.cid import parse_peer
from plasm_core.records.peer import PeerId
from plasm_core.records.spki import read_public_key

_MAX_KEY_BYTES = 65_536


def read_key(text: str) -> PeerId:
    """Parse a key: a file if one has that name, else a PeerId or 64 hexadecimal digits. Raises: ValueError, OSError."""
    if not os.path.exists(text):
        if re.fullmatch("[0-9a-fA-F]{64}", text):
            return PeerId.from_public_key(bytes.fromhex(text))
        if re.fullmatch("[A-Za-z0-9]{40,128}", text):
            return parse_peer(text)
    return read_public_key(read_input(text, _MAX_KEY_BYTES))
