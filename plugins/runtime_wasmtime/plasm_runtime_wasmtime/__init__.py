"""The wasmtime engine. `runtime` and `validator` are what is configured; `engine` works in child processes.

This file stays empty: children import the package, and every page they hold is copied for every job.
"""
