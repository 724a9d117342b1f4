"""How one run of a job ended, before it is a receipt."""

from __future__ import annotations

from datetime import datetime

import attrs

from plasm_core.records.outcome import Outcome


@attrs.frozen(kw_only=True)
class Run:
    """How a run ended, and the resources it used.

    `gas_used`: of a run that the node ended, what it used at least; 0 if that is not known. `finished_at` is `started_at` plus the wall time, so that changes of the wall clock have no effect.
    """

    outcome: Outcome
    gas_used: int
    started_at: datetime
    finished_at: datetime
    wall_time_s: float
    cpu_time_s: float
    peak_memory_bytes: int
