"""The WASI preview-1 host: the same machine for every job, on every engine (docs/determinism.md)."""
