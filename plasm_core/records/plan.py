"""How often, and how diversely, a job must be executed for its verifiers to judge it."""

from __future__ import annotations

import attrs

from plasm_core.records.fields import ConstraintError, boolean, constrained, integer

MAX_EXECUTIONS = 64


@attrs.frozen(kw_only=True)
class Plan:
    """The least number of executions, of distinct nodes, networks and runtimes that a verifier needs.

    A node proves its identity by its signature; which runtime it used is only its claim. A network is a /24 or /48, or
    a relay: keys cost nothing, addresses something. `apart_s`: each execution but the first is asked for at a random
    time of so many seconds after the one before, so that no node sees that others were asked. `at_random`: the nodes but
    the first are drawn, one network as likely as another, instead of the nearest: these may be of one owner.
    """

    executions: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    nodes: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    runtimes: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    networks: int = constrained(integer(1, MAX_EXECUTIONS), default=1)
    apart_s: int = constrained(integer(0, 86_400), default=0)
    at_random: bool = constrained(boolean(), default=False)

    def __attrs_post_init__(self) -> None:
        if max(self.nodes, self.runtimes, self.networks) > self.executions:
            raise ConstraintError(
                f"{self.executions} executions are too few for as many nodes, networks and runtimes"
            )

    def __or__(self, other: Plan) -> Plan:
        """Return the smallest plan that contains both."""
        if other is self:
            return self
        return Plan(
            executions=max(self.executions, other.executions),
            nodes=max(self.nodes, other.nodes),
            runtimes=max(self.runtimes, other.runtimes),
            networks=max(self.networks, other.networks),
            apart_s=max(self.apart_s, other.apart_s),
            at_random=self.at_random or other.at_random,
        )


ONE_EXECUTION = Plan()
"""The plan of most verifiers."""
