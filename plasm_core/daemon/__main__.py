"""`python -m plasm_core.daemon`."""

from plasm_core.daemon.entry import main

main()
