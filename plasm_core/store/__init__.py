"""What the daemon keeps: jobs that were accepted, their inputs and outputs, and modules.

Nothing here is asynchronous, and everything is thread-safe unless it says otherwise. No address or identity of
a client is ever stored, and of a job's token only the SHA-256.
"""

from plasm_core.store.inputs import OpenInputs, StagedInputs
from plasm_core.store.job import Accepted, Gone, Job, Output, Recovery, State, Stream, Totals
from plasm_core.store.modules import Modules, ModuleUpload, Pin
from plasm_core.store.spool import Spool
from plasm_core.store.store import Store

__all__ = [
    "Accepted",
    "Gone",
    "Job",
    "ModuleUpload",
    "Modules",
    "OpenInputs",
    "Output",
    "Pin",
    "Recovery",
    "Spool",
    "StagedInputs",
    "State",
    "Store",
    "Stream",
    "Totals",
]
