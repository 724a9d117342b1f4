"""The clock for retention and waiting times: it never jumps, and continues over restarts.

Within one boot it follows the kernel's boot time, so that setting the machine's clock (NTP does so minutes after a
boot without a battery) ends no job and deletes no result. Between boots only the wall clock shows how long the
machine was off: a step back counts as no time, a step forward as at most a day.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs

from plasm_core.errors import InvalidRecordError, OutputFileError
from plasm_core.input_file import read_input
from plasm_core.output_file import OutputFile
from plasm_core.records.converter import encode_json, parse_json, structure

log = logging.getLogger(__name__)

MAX_OFF_S = 86_400.0
"""How much of the time between two boots counts."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_BYTES = 4096
_LATEST_S = datetime(9000, 1, 1, tzinfo=timezone.utc).timestamp()
_SAME_S = 2.0
"""Two clocks that differ by less are shown as one: slewing is no jump."""


def boot_time() -> float:
    """Return the seconds since the machine was started, including sleep where the kernel counts it."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def boot_id() -> str:
    """Return the identifier of this boot, empty if the system has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


@attrs.frozen(kw_only=True)
class _Kept:
    """The clock's last stored reading, with the boot time and the wall clock of that moment. In seconds."""

    json_open = True

    boot: str
    boot_s: float
    wall_s: float
    steady_s: float

    @property
    def is_possible(self) -> bool:
        return all(
            math.isfinite(value) and 0 <= value <= _LATEST_S
            for value in (self.boot_s, self.wall_s, self.steady_s)
        )


class SteadyClock:
    """A clock for a state directory that no change of the wall clock affects.

    Call `keep` every minute or so: after a crash it continues from the last kept time.
    """

    def __init__(
        self,
        path: Path,
        *,
        boot: Callable[[], float] = boot_time,
        wall: Callable[[], float] = time.time,
        boot_name: str | None = None,
    ) -> None:
        self._path = path
        self._boot = boot
        self._wall = wall
        self._name = boot_id() if boot_name is None else boot_name
        now_s, self._started_s = self._wall(), self._boot()
        self._steady_s = now_s if (kept := self._read()) is None else self._continued(kept, now_s)

    def now(self) -> datetime:
        """Return the current time of this clock, in which the times of jobs are stored."""
        return datetime.fromtimestamp(self._now_s(), timezone.utc)

    def shown(self, moment: datetime) -> datetime:
        """Return the wall clock's time, by its present setting, at a moment of this clock."""
        ahead_s = self._wall() - self._now_s()
        return moment if abs(ahead_s) < _SAME_S else moment + timedelta(seconds=ahead_s)

    def keep(self) -> None:
        """Save the time. A failure is logged; after it, the next start reads the wall clock."""
        kept = _Kept(boot=self._name, boot_s=self._boot(), wall_s=self._wall(), steady_s=self._now_s())
        try:
            OutputFile.prepared(self._path).write(encode_json(kept), mode=0o600)
        except OutputFileError as exc:
            log.warning("cannot keep the time reason=%s", exc)

    def _now_s(self) -> float:
        return self._steady_s + self._boot() - self._started_s

    def _read(self) -> _Kept | None:
        try:
            data = parse_json(read_input(self._path, _MAX_BYTES), record="clock", maximum=_MAX_BYTES)
            kept = structure(data, _Kept, record="clock")
        except FileNotFoundError:
            return None
        except (OSError, InvalidRecordError) as exc:
            log.warning("cannot read the time that was kept reason=%s", exc)
            return None
        return kept if kept.is_possible else None

    def _continued(self, kept: _Kept, wall_s: float) -> float:
        if self._name and kept.boot == self._name and self._started_s >= kept.boot_s:
            return kept.steady_s + self._started_s - kept.boot_s
        return kept.steady_s + min(max(0.0, wall_s - kept.wall_s), MAX_OFF_S)
