"""What `plasm metrics` shows of a daemon that has done nothing yet, and of one whose jobs wait."""

from __future__ import annotations

import re
from pathlib import Path

from plasm_core.daemon.series import HELP
from plasm_core.version import __version__
from tests.daemon.conftest import HELLO
from tests.support.daemon import Daemon


def page(daemon: Daemon) -> str:
    """Return the page."""
    return daemon.plasm("metrics").stdout.decode()


def value(text: str, name: str) -> float:
    """Return a series' value."""
    found = re.search(rf"^plasm_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{name} is not in\n{text}"
    return float(found[1])


def test_every_series_is_there_from_the_start_and_is_explained(tmp_path: Path) -> None:
    """A rate of errors that begins with the first error shows no first error."""
    with Daemon(tmp_path) as daemon:
        daemon.start()
        text = page(daemon)

    names = set(re.findall(r"^# TYPE plasm_(\S+) ", text, re.MULTILINE))
    explained = dict(re.findall(r"^# HELP plasm_(\S+) (.*)$", text, re.MULTILINE))
    assert set(explained) == names
    assert {name: explained[name] for name in names} == {name: HELP[name] for name in names}
    assert value(text, 'jobs_ended_total{outcome="timed_out"}') == 0
    assert value(text, 'jobs_refused_total{reason="storage_full"}') == 0
    assert value(text, 'jobs_accepted_total{route="network"}') == 0
    assert value(text, "queue_oldest_seconds") == 0
    assert 0 < value(text, "state_free_bytes") <= value(text, "state_size_bytes")
    assert f'version="{__version__}"}} 1' in text


def test_what_a_job_has_left_is_counted(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--set", "limits.cpu=1") as daemon:
        daemon.start()
        long = daemon.plasm("submit", str(HELLO), "x").stdout
        daemon.plasm("wait", "-", stdin=long)
        text = page(daemon)

    assert value(text, 'jobs_ended_total{outcome="exited"}') == 1
    assert value(text, "job_bytes") > 0
