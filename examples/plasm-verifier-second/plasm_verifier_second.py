"""The verifier `second`: a second node confirms the results of nodes that are not known well."""

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Observables


@attrs.frozen(kw_only=True)
class Second(Verifier):
    name = "second"

    checks: int = 10

    def judge(self, claims):
        if not claims or any(claim.why_unsettled for claim in claims):
            return self.undecided("there is nothing that a second node could confirm")
        if len({Observables.of(claim.receipt) for claim in claims}) > 1:
            return self.undecided("the nodes differ", more=1 if len(claims) < 5 else 0)
        if len(nodes := {claim.receipt.node for claim in claims}) > 1:
            return self.accept("second", reasons=["a second node agrees"], checked=nodes)
        # A confirmed result counts for a little less than 1 from the next second on.
        if claims[0].history and claims[0].history.trust > self.checks - 1:
            return self.accept("second", reasons=["the node is known well"])
        return self.undecided("a second node is needed", more=1)


@hookimpl
def plasm_verifier():
    return [Second]
