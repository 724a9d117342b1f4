"""The wasmtime engine. `runtime` and `validator` have the configuration; `engine` works in child processes.

This file has no code: child processes import the package, and each of their memory pages is copied for every job.
"""
