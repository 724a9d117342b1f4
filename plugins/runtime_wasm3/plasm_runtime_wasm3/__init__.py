"""The wasm3 engine, an interpreter. `runtime` has the configuration; `engine` works in child processes."""
