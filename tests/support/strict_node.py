"""A daemon that answers few requests of the directory from one peer: `python -m tests.support.strict_node ARGUMENT…`."""

from __future__ import annotations

from plasm_core.daemon.main import main
from plasm_transport_libp2p.kad import node

BURST, PER_S = 96, 2.0

if __name__ == "__main__":
    node.BURST, node.PER_S = BURST, PER_S
    main()
