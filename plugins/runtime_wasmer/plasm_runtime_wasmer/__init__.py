"""The wasmer engine. `runtime` is what is configured; `engine` works in child processes."""
