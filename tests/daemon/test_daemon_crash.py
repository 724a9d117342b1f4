"""A daemon that is killed loses no job that it accepted, and gives none two results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_accepted_job_is_lost_and_none_ends_twice(tmp_path: Path) -> None:
    """The short form of what benchmarks/results/crash.txt records."""
    command = [sys.executable, "-m", "tests.daemon.crash", str(tmp_path), "--kills", "5"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ended"] == report["accepted"] > 0, report
