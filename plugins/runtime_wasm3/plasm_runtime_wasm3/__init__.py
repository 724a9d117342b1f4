"""The wasm3 engine, an interpreter. `runtime` is what is configured; `engine` works in child processes."""
