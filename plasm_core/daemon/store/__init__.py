"""The daemon's store: accepted jobs, their inputs and outputs, and modules.

Nothing here is asynchronous, and everything is thread-safe unless it says otherwise. No address or identity of
a client is ever stored, and of a job's token only the SHA-256.
"""

from plasm_core.daemon.store.inputs import OpenInputs, StagedInputs
from plasm_core.daemon.store.job import Gone, Job, Recovery, StoredSubmission, Totals
from plasm_core.daemon.store.modules import Modules, ModuleUpload, Pin
from plasm_core.daemon.store.spool import Spool
from plasm_core.daemon.store.store import Store
from plasm_core.daemon.store.usage import Use

__all__ = [
    "Gone",
    "Job",
    "ModuleUpload",
    "Modules",
    "OpenInputs",
    "Pin",
    "Recovery",
    "Spool",
    "StagedInputs",
    "Store",
    "StoredSubmission",
    "Totals",
    "Use",
]
