"""`python -m plasm_core.daemon`."""

from plasm_core.daemon.main import main

main()
