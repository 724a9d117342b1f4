"""The verifier `budget`: a job may not have used more gas than was agreed on."""

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Verifier


@attrs.frozen(kw_only=True)
class Budget(Verifier):
    name = "budget"

    gas: int = 1_000_000

    def judge(self, claims):
        if not claims:
            return self.undecided("there is no receipt")
        used = max(claim.receipt.result.gas_used for claim in claims)
        if used > self.gas:
            return self.reject(f"{used:,} gas is more than the {self.gas:,} agreed on")
        return self.accept("budget", reasons=[f"within a budget of {self.gas:,} gas"])


@hookimpl
def plasm_verifier():
    return [Budget]
