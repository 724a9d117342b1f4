"""How a run ended."""

from __future__ import annotations

import attrs

from plasm_core.records.fields import Constraint, ConstraintError, constrained, integer, one_of, text
from plasm_core.records.job import JobState
from plasm_core.trap_kinds import TRAP_KINDS

RECHECKABLE = ("exited", "trapped", "out_of_gas", "output_limit")
CLAIMED = ("timed_out", "cancelled", "system_error")
_STATES = {"cancelled": JobState.CANCELED, "system_error": JobState.SYSTEM_ERROR}


def optional(constraint: Constraint) -> Constraint:
    """Return a constraint that also accepts null."""
    return Constraint(
        expected=constraint.expected,
        schema=constraint.schema,
        accepts=lambda value: value is None or constraint.accepts(value),
        load=lambda value: None if value is None else constraint.load(value),
        dump=lambda value: None if value is None else constraint.dump(value),
    )


@attrs.frozen(kw_only=True)
class Outcome:
    """The end of a run.

    `code`: only for `exited`; `trap`: only for `trapped`; `detail`: for outcomes that only the node can know.
    """

    json_camel = True
    json_open = True

    kind: str = constrained(one_of(*RECHECKABLE, *CLAIMED))
    code: int | None = constrained(optional(integer(0, 2**32 - 1)), default=None)
    trap: str | None = constrained(optional(one_of(*TRAP_KINDS)), default=None)
    detail: str | None = constrained(optional(text(maximum=512, pattern=r"[^\x00-\x1f]*")), default=None)

    def __attrs_post_init__(self) -> None:
        if (self.code is not None) != (self.kind == "exited"):
            raise ConstraintError("code goes with exited, and only with it")
        if (self.trap is not None) != (self.kind == "trapped"):
            raise ConstraintError("trap goes with trapped, and only with it")
        if self.detail is not None and self.kind not in CLAIMED:
            raise ConstraintError("detail goes with timed_out, cancelled and system_error only")

    @property
    def recheckable(self) -> bool:
        """Whether every other run of the task must end in the same way."""
        return self.kind in RECHECKABLE

    @property
    def ok(self) -> bool:
        """Whether the job exited with code 0."""
        return self.kind == "exited" and self.code == 0

    @property
    def state(self) -> JobState:
        """The state of a job with this outcome."""
        if self.ok:
            return JobState.COMPLETE
        return _STATES.get(self.kind, JobState.EXECUTOR_ERROR)

    def __str__(self) -> str:
        if self.kind == "exited":
            return f"exited with code {self.code}"
        if self.kind == "trapped":
            return f"trapped: {self.trap}"
        words = self.kind.replace("_", " ")
        return f"{words}: {self.detail}" if self.detail else words
