"""A killed process loses no job that was accepted, and gives none a second result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_no_accepted_job_is_lost_and_none_ends_twice(state: Path) -> None:
    """The short form; `python -m tests.daemon.store.store_crash` runs longer ones."""
    state.mkdir()
    command = [sys.executable, "-m", "tests.daemon.store.store_crash", str(state), "--kills", "20"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["live"] == 0
    assert report["accepted"] > 10, report
    assert report["finished"] > 10, report
