"""`python -m plasm_core.cli`."""

from plasm_core.cli import main

main()
