"""How often, and how diversely, a job must be executed for its verifiers to judge it."""

from __future__ import annotations

import attrs

from plasm_core.records.fields import ConstraintError, constrained, integer

MAX_EXECUTIONS = 64


@attrs.frozen(kw_only=True)
class Plan:
    """At least so many executions, on so many distinct nodes and so many distinct runtimes among them.

    Which node answered is proved by its signature; which runtime it used is only its claim.
    """

    executions: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    nodes: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    runtimes: int = constrained(integer(1, MAX_EXECUTIONS), default=1)

    def __attrs_post_init__(self) -> None:
        if max(self.nodes, self.runtimes) > self.executions:
            raise ConstraintError(f"{self.executions} executions are too few for as many nodes and runtimes")

    def __or__(self, other: Plan) -> Plan:
        """Return the smallest plan that contains both."""
        return Plan(
            executions=max(self.executions, other.executions),
            nodes=max(self.nodes, other.nodes),
            runtimes=max(self.runtimes, other.runtimes),
        )
