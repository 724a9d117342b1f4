"""A daemon that has uploads wait for a place as long as it takes: `python -m tests.support.patient_node ARGUMENT…`.

The two seconds that they wait otherwise may pass on a machine that is busy, or whose disk is slow.
"""

from __future__ import annotations

from plasm_core.daemon import upload_places
from plasm_core.daemon.main import main

WAIT_S = 60.0

if __name__ == "__main__":
    upload_places._WAIT_S = WAIT_S
    main()
