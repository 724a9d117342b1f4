"""The exceptions by which a host function ends a run."""

from __future__ import annotations


class Exit(Exception):
    """The guest called proc_exit. `code` is a u32."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OutOfGas(Exception):
    """The gas charge of a host call made the gas counter negative."""


class OutputLimit(Exception):
    """The guest wrote more than its limit to stdout or stderr."""
