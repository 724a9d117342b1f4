"""A child that puts on every layer of the sandbox, to learn which the platform lacks."""

from __future__ import annotations

import json
import os
from typing import Any

from plasm_core.sandbox.process import confinement


def main(spec: dict[str, Any]) -> None:
    """Lock down, and write the missing layers with their reasons to stdout as JSON."""
    missing = confinement.lock_down(spec["confinement"])
    os.write(1, json.dumps(missing).encode())
